#!/usr/bin/env bash
# checks_notice_violations.sh: a tree that keeps the rules passes both checks, and each single violation fails one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
status=0

put() {  # put FILE TEXT
  mkdir -p "$tree/$(dirname "$1")"
  printf '%s\n' "$2" >"$tree/$1"
}

expect() {  # expect pass|fail CHECK FILE TEXT
  put "$3" "$4"
  [[ "$4" != '#!'* ]] || chmod +x "$tree/$3"
  local outcome=pass
  "$here/$2" "$tree" >/dev/null 2>&1 || outcome=fail
  if [[ "$outcome" != "$1" ]]; then
    echo "$2: expected $1 for $3 with: $4"
    status=1
  fi
  rm "$tree/$3"
}

expect pass check_arrows.sh store/postgres/a.cc '#include <pqxx/pqxx>'
expect pass check_arrows.sh server/targets/postgres/a.cc '#include <libpq-fe.h>'
expect pass check_arrows.sh server/clock.cc 'clock_gettime(CLOCK_REALTIME, &now);'
expect pass check_arrows.sh server/rpc/a.cc '#include <grpcpp/grpcpp.h>'
expect pass check_arrows.sh server/run.cc '#include "store/postgres/postgres_control_store.h"'
expect pass check_arrows.sh migrations/natives/a.cc '#include "migrations/kinds/native.h"'
expect pass check_arrows.sh server/a.cc '// absl::Now() is what this does not call.'
expect pass check_arrows.sh client/cli/a.cc '#include "migrations/definition/definition.h"'

expect fail check_arrows.sh server/execution/a.cc '#include <pqxx/pqxx>'
expect fail check_arrows.sh store/a.h '#include <libpq-fe.h>'
expect fail check_arrows.sh server/scheduler/a.cc '#include "grpcpp/grpcpp.h"'
expect fail check_arrows.sh server/control/a.cc '#include "migrationcontrol/v1/migration_control.grpc.pb.h"'
expect fail check_arrows.sh server/scheduler/a.cc 'const auto now = absl::Now();'
expect fail check_arrows.sh store/postgres/a.cc 'const auto now = std::chrono::steady_clock::now();'
expect fail check_arrows.sh migrations/model/a.cc 'return time(nullptr);'
expect fail check_arrows.sh server/control/a.cc '#include <yaml-cpp/yaml.h>'
expect fail check_arrows.sh server/run.cc '#include <CLI/CLI.hpp>'
expect fail check_arrows.sh store/postgres/a.cc '#include <spdlog/spdlog.h>'
expect fail check_arrows.sh migrations/kinds/a.cc '#include <fstream>'
expect fail check_arrows.sh migrations/model/a.h '#include "absl/synchronization/mutex.h"'
expect fail check_arrows.sh migrations/model/a.h '#include "migrations/kinds/plan.h"'
expect fail check_arrows.sh migrations/definition/a.h '#include "migrations/kinds/plan.h"'
expect fail check_arrows.sh migrations/kinds/a.h '#include "store/control_store.h"'
expect fail check_arrows.sh migrations/natives/a.cc '#include "migrations/kinds/plan.h"'
expect fail check_arrows.sh store/a.h '#include "server/clock.h"'
expect fail check_arrows.sh server/targets/target.h '#include "server/scheduler/board.h"'
expect fail check_arrows.sh server/a.cc '#include "client/backoff.h"'
expect fail check_arrows.sh server/a.cc '#include "tests/support/temp_postgres.h"'
expect fail check_arrows.sh client/a.cc '#include "server/clock.h"'
expect fail check_arrows.sh client/cli/a.cc '#include "server/clock.h"'
expect fail check_arrows.sh client/a.cc '#include "server/targets/postgres/schema_sql.h"'
expect fail check_arrows.sh client/a.cc '#include "migrations/definition/definition.h"'
expect fail check_arrows.sh server/scheduler/a.cc '#include "store/postgres/postgres_control_store.h"'

expect pass check_files.sh scripts/a $'#!/usr/bin/env bash\nif true; then echo yes; fi'
expect pass check_files.sh notes.md 'See framework/work/flow and https://example.org/work/x.'
expect fail check_files.sh scripts/a $'#!/usr/bin/env bash\nif true; then echo yes'
expect fail check_files.sh notes.md "Built in /wo""rk/tree."
expect fail check_files.sh notes.md "cd /ro""ot"
expect fail check_files.sh notes.md "see /ho""me/somebody/notes"

exit "$status"
