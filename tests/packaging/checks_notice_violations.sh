#!/usr/bin/env bash
# checks_notice_violations.sh ROOT MIGRATIOND: each single change for the worse fails the check that should notice it.
set -euo pipefail
root=${1:?usage: checks_notice_violations.sh ROOT MIGRATIOND} migrationd=${2:?}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
status=0

# expect_failure FILE SED-SCRIPT CHECK...: the check fails when FILE (below ROOT, copied into the tree) is changed by the script.
expect_failure() {
  local copy=$tree/${1##*/}
  sed -E -e "$2" "$root/$1" >"$copy"
  if cmp --silent "$root/$1" "$copy"; then
    echo "sed -E '$2' changes nothing in $1"
    status=1
  elif "${@:3}" >/dev/null 2>&1; then
    echo "${3##*/} does not notice what sed -E '$2' does to $1"
    status=1
  fi
  cp "$root/$1" "$copy"
}

unit=server/service/migrationd.service
for change in '/^NoNewPrivileges=/d' '/^MemoryDenyWriteExecute=/d' 's/^(ProtectSystem=).*/\1full/' \
  's/^(CapabilityBoundingSet=)/\1CAP_NET_ADMIN/' 's/^(SystemCallFilter=@system-service)/#\1/' 's/^(RestrictAddressFamilies=.*)/\1 AF_PACKET/' 's/^(TimeoutStopSec=).*/\110s/' \
  's/^RestartPreventExitStatus=2 78/RestartPreventExitStatus=1/' '/^User=/d'; do
  expect_failure $unit "$change" "$here/check_unit.sh" "$tree/migrationd.service"
done

yaml=server/service/migrationd.yaml
for change in 's/^#default_start:/#default_begin:/' 's/^#(control_url_file)/\1/' 's/url_file: (.etc.migrationd.main)/urlfile: \1/' \
  's/MANUAL$/LATER/'; do
  expect_failure $yaml "$change" "$here/check_configuration.sh" "$migrationd" "$tree/migrationd.yaml"
done

cp "$root/.dockerignore" "$tree/"
while IFS= read -r kept; do
  mkdir -p "$tree/$(dirname "$kept")"
  : >"$tree/$kept"
done < <(sed -n 's/^!//p' "$root/.dockerignore")
cp "$root/Dockerfile" "$tree/"
"$here/check_dockerfile.sh" "$tree" || status=1
for change in '$aHEALTHCHECK CMD true' '0,/^USER 65532:65532$/s//USER migrationd/' \
  's/^FROM debian:bookworm-slim AS runtime/FROM debian:latest AS runtime/' \
  's/ --strip / /' 's/org.opencontainers.image.revision/revision/' 's/-DMIGRATIOND_HARDENED=ON //' 's/ libpq5 / libpq5 libpq-dev /' \
  's/^ENTRYPOINT \["\/usr\/bin\/migrationd"\]/ENTRYPOINT \/usr\/bin\/migrationd/' '0,/rm -rf .var.lib.apt.lists.*/s///'; do
  expect_failure Dockerfile "$change" "$here/check_dockerfile.sh" "$tree"
done
# Only where the packages are the Dockerfile's.
if "$here/check_runtime_packages.sh" "$root/Dockerfile" "$migrationd" >/dev/null; then
  expect_failure Dockerfile 's/ libpqxx-6.4 / /' "$here/check_runtime_packages.sh" "$tree/Dockerfile" "$migrationd"
fi

exit "$status"
