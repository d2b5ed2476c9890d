#!/usr/bin/env bash
# check_arrows.sh ROOT: what a folder may include. Prints each line that breaks a rule, with the rule; exit status 1 if there is one.
set -euo pipefail
cd "${1:?usage: check_arrows.sh ROOT}"
status=0

# The lines of C++ under the folders that match the pattern, as FILE:LINE:TEXT, without those that are only a comment.
lines() {  # lines PATTERN FOLDER...
  local existing=() folder
  for folder in "${@:2}"; do [[ ! -e "$folder" ]] || existing+=("$folder"); done
  ((${#existing[@]} == 0)) || grep -rnE --include='*.cc' --include='*.h' -e "$1" "${existing[@]}" | grep -vE '^[^:]+:[0-9]+: *//' || true
}

refuse() {  # refuse RULE LINES
  [[ -n "$2" ]] || return 0
  printf '%s:\n%s\n' "$1" "$2"
  status=1
}

program=(migrations store server client)

# only RULE PATTERN ALLOWED: the pattern stands nowhere but in files that match ALLOWED.
only() {
  refuse "$1" "$(lines "$2" "${program[@]}" | grep -vE "^($3)" || true)"
}

# arrow FOLDER ALLOWED: of our own headers, the folder includes only those that match ALLOWED.
arrow() {
  refuse "$1 includes only ($2)" \
    "$(lines '#include "(migrations|store|server|client|tests|migrationcontrol)/' "$1" | grep -vE "#include \"($2)" || true)"
}

only 'libpq and libpqxx belong to store/postgres and server/targets/postgres' \
  '#include [<"](pqxx/|libpq)' 'store/postgres/|server/targets/postgres/'
only 'gRPC belongs to server/rpc, server/run.cc and client' \
  '#include [<"](grpc|grpcpp|grpc\+\+|.*\.grpc\.pb\.h)' 'server/rpc/|server/run\.cc:|client/'
# The client library has no injected clock: its deadlines are the caller's, in real time.
only 'the OS clock belongs to server/clock.cc' \
  'clock_gettime|gettimeofday|_clock::now|absl::(Now|GetCurrentTimeNanos)\(|[^a-z_]time\((nullptr|NULL|0)\)' 'server/clock\.cc:|client/'
only 'yaml-cpp belongs to migrations/definition, server/options and client/cli' \
  '#include [<"]yaml-cpp/' 'migrations/definition/|server/options/|client/cli/'
only 'CLI11 belongs to server/options and client/cli' '#include [<"]CLI/' 'server/options/|client/cli/'
only 'spdlog belongs to server/observability' '#include [<"](spdlog|fmt)/' 'server/observability/'

refuse 'migrations/ is pure: no I/O, no threads, no locks' \
  "$(lines '#include [<"](fstream|iostream|filesystem|thread|mutex|condition_variable|unistd\.h|sys/|absl/synchronization/)' migrations)"

words='migrationcontrol/v1/[a-z_]+\.pb\.h'
arrow migrations/model "migrations/model/|$words"
arrow migrations/pacing "migrations/(model|pacing)/|$words"
arrow migrations/definition "migrations/(model|definition)/|$words"
arrow migrations/kinds "migrations/(model|definition|kinds)/|$words"
# What is shipped could stand outside this tree as well.
arrow migrations/natives "migrations/(natives/|kinds/native\.h)"
arrow migrations "migrations/|$words"
arrow store "migrations/|store/|$words"
arrow server "migrations/|store/|server/|migrationcontrol/v1/"
arrow server/targets "migrations/|store/control_store\.h|server/targets/|server/clock\.h|server/observability/|$words"
# schema_sql.h is text: what `migrationctl target-sql` prints for a DBA, without a server.
arrow client "migrationcontrol/|client/|migrations/(definition|model)/|server/targets/postgres/schema_sql\.h"
refuse 'the client library includes nothing of the service' "$(lines '#include "(server|store)/' client | grep -v '^client/cli/' || true)"
refuse 'only client/cli checks definitions' \
  "$(lines '#include "migrations/' client | grep -v '^client/cli/' || true)"
refuse 'what implements a seam is named by server/run.cc only' \
  "$(lines '#include "(store/postgres|server/targets/postgres|server/rpc)/' server | grep -vE '^server/(run\.cc|targets/postgres/|rpc/)' || true)"

exit "$status"
