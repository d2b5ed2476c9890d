#!/usr/bin/env bash
# run.sh PACKAGES SOURCE WORK COMPILER MIGRATIONCTL [FLAGS]: a user of libmigrationd-dev. Unpacks the package of the folder PACKAGES below
# WORK, builds a migrationd with a class of its own outside this tree, and has it migrate a table of a private PostgreSQL. Nothing is
# installed.
set -euo pipefail
packages=$1 source=$2 work=$3 compiler=$4 migrationctl=$5 flags=${6:-}
rm -rf "$work"
mkdir -p "$work"
# What the README prints is what is built here.
[[ "$(<"$source/../../../README.md")" == *"$(sed -n '/^#include <algorithm>/,$p' "$source/main.cc")"* ]]
server=
finish() {
  local status=$?
  if [[ -n "$server" ]]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  ((status == 0)) || tail -n 40 "$work"/*.log >&2 || true
  # The sockets' names are short for a reason; the rest is large.
  rm -rf "$short"
  ((status != 0)) || rm -rf "$work"
}
# A socket's path has at most 107 bytes; the unprivileged user of PostgreSQL has to get there, too.
short=$(mktemp -d /tmp/migrationd-native-XXXXXX)
chmod 755 "$short"
trap finish EXIT

dpkg-deb --extract "$packages"/libmigrationd-dev_*.deb "$work/root"
prefix=$work/root/usr
cmake -S "$source" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_CXX_FLAGS="$flags" >"$work/build.log"
# Not one that happens to be installed.
grep -q "^migrationd_DIR:PATH=$prefix/" "$work/build/CMakeCache.txt"
cmake --build "$work/build" >>"$work/build.log"
program=$work/build/shop-migrationd
"$program" --version >/dev/null

"$program" "--dev=$short/dev" --listen "unix:$short/rpc" --http-listen off >"$work/server.log" 2>&1 &
server=$!
control() { "$migrationctl" --server "unix:$short/rpc" "$@"; }
for ((i = 0; i < 600; ++i)); do
  if grep -q serving "$work/server.log"; then break; fi
  kill -0 "$server"
  sleep 0.1
done
grep serving "$work/server.log" | grep -q reverse_text

sql() { psql --no-psqlrc -qAt -v ON_ERROR_STOP=1 "postgresql:///main?host=$short/dev&user=postgres" -c "$1"; }
sql "CREATE TABLE texts (id bigint PRIMARY KEY, a text, b text);
     INSERT INTO texts SELECT i, CASE WHEN i = 1234 THEN 'poison' ELSE 'text ' || i END FROM generate_series(1, 3000) AS i"

file=$work/20261121000000_turn_round.yaml
cat >"$file" <<'YAML'
native: {class: reverse_text, parameters: {table: public.texts, from: a, to: bb}}
pace: {interval: 0s, sub_batch_size: 100}
YAML
control validate "$file" | grep -q 'valid, as far as it can be told here'
if control validate --remote "$file" >"$work/validate.log"; then exit 1; fi
grep -q "no column 'bb'" "$work/validate.log"
sed -i 's/bb}/b}/; s/reverse_text/reverse_txt/' "$file"
if control enqueue -f "$file" >"$work/enqueue.log" 2>&1; then exit 1; fi
grep -q 'registered: reverse_text' "$work/enqueue.log"
sed -i 's/reverse_txt/reverse_text/' "$file"

# The one bad row is found and named; all others are done, each once.
control enqueue -f "$file" >/dev/null
if control wait turn_round --timeout 2m >"$work/wait.log" 2>&1; then exit 1; fi
control failures turn_round >"$work/failures.log"
grep -q 1234 "$work/failures.log"
grep -q 'cannot be turned round' "$work/failures.log"
[[ "$(sql "SELECT count(*) FROM texts WHERE b = reverse(a)")" == 2999 ]]
sql "UPDATE texts SET a = 'cured' WHERE id = 1234"
control retry turn_round >/dev/null
control wait turn_round --timeout 2m >/dev/null
[[ "$(sql "SELECT count(*) FROM texts WHERE b = reverse(a)")" == 3000 ]]
[[ "$(sql "SELECT rows FROM migration_control.migration WHERE name = 'turn_round'")" == 3000 ]]
