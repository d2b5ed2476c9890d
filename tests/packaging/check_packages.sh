#!/usr/bin/env bash
# check_packages.sh FOLDER: what the four packages there hold and depend on. Prints what is wrong; exit status 1 if anything is.
set -euo pipefail
folder=${1:?usage: check_packages.sh FOLDER}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

wrong() {
  echo "$1"
  status=1
}

# open NAME SUMMARY: the one package of that name, unpacked.
open() {
  local found=("$folder/$1"_*.deb)
  if [[ ${#found[@]} != 1 || ! -e "${found[0]}" ]]; then
    echo "expected one package $1 in $folder, found: ${found[*]}"
    exit 1
  fi
  package=$1 deb=${found[0]} tree=$work/$1
  dpkg-deb --raw-extract "$deb" "$tree"
  [[ "$(dpkg-deb --field "$deb" Package)" == "$1" ]] || wrong "$1 calls itself $(dpkg-deb --field "$deb" Package)"
  [[ "$(dpkg-deb --field "$deb" Description | head -n 1)" == "$2" ]] || wrong "$1 says: $(dpkg-deb --field "$deb" Description)"
  # Everything is root's, and nobody else's to write.
  local loose
  loose=$(dpkg-deb --contents "$deb" | awk '$2 != "root/root" || $1 ~ /^-?.{7}w|^.{5}w|^-..[sS]/' || true)
  [[ -z "$loose" ]] || wrong "$1: owner or mode of:"$'\n'"$loose"
}

holds() {  # holds FILE...
  local file
  for file in "$@"; do
    [[ -e "$tree/$file" ]] || wrong "$package holds no $file"
  done
}

holds_below() {  # holds_below FOLDER FILE...: there, or in the folder of the architecture
  local file
  for file in "${@:2}"; do
    [[ -n "$(find "$tree/$1" -path "*/$file")" ]] || wrong "$package holds no $file below $1"
  done
}

depends() {  # depends PACKAGE...: as shared libraries' packages are named here, or by name
  local name field
  field=", $(dpkg-deb --field "$deb" Depends),"
  for name in "$@"; do
    [[ "$field" =~ (, |\| )$name( \(|,| \|) ]] || wrong "$package does not depend on $name, but on${field#,}"
  done
}

nothing_else() {  # nothing_else PATTERN: no file outside it
  local others
  others=$(cd "$tree" && find . -path ./DEBIAN -prune -o -type f -print | grep -vE "^\./($1)" || true)
  [[ -z "$others" ]] || wrong "$package should not hold:"$'\n'"$others"
}

open migrationd 'service that runs long data migrations in live PostgreSQL databases'
holds usr/bin/migrationd lib/systemd/system/migrationd.service etc/migrationd/migrationd.yaml usr/lib/sysusers.d/migrationd.conf
nothing_else 'usr/bin/migrationd$|lib/systemd/system/migrationd\.service$|etc/migrationd/migrationd\.yaml$|usr/lib/sysusers\.d/migrationd\.conf$'
depends libc6 'libgrpc\+\+[0-9.]+(t64)?' 'libprotobuf[0-9]+(t64)?' 'libpqxx-[0-9.]+(t64)?' libpq5 'libssl[0-9.]+(t64)?' systemd systemd-sysusers
[[ "$(cat "$tree/DEBIAN/conffiles")" == /etc/migrationd/migrationd.yaml ]] || wrong "migrationd.yaml is not a conffile"
for script in postinst prerm postrm; do
  [[ -x "$tree/DEBIAN/$script" ]] || wrong "migrationd has no $script"
done
"$here/check_unit.sh" "$tree/lib/systemd/system/migrationd.service" || status=1
"$here/check_configuration.sh" "$tree/usr/bin/migrationd" "$tree/etc/migrationd/migrationd.yaml" || status=1
"$tree/usr/bin/migrationd" --version | grep -F "$(dpkg-deb --field "$deb" Version | cut -d - -f 1)" >/dev/null ||
  wrong "the version of the package is not that of the program"

open migrationctl 'command line of migrationd'
holds usr/bin/migrationctl usr/share/bash-completion/completions/migrationctl usr/share/zsh/vendor-completions/_migrationctl \
  usr/share/fish/vendor_completions.d/migrationctl.fish
nothing_else 'usr/bin/migrationctl$|usr/share/(bash-completion|zsh|fish)/'
depends libc6 'libgrpc\+\+[0-9.]+(t64)?' 'libprotobuf[0-9]+(t64)?'
[[ ! "$(dpkg-deb --field "$deb" Depends)" =~ libpq ]] || wrong "migrationctl depends on a client of PostgreSQL"
grep -F set-batch-size "$tree/usr/share/bash-completion/completions/migrationctl" >/dev/null || wrong "the completion knows no set-batch-size"
bash -n "$tree/usr/share/bash-completion/completions/migrationctl" || wrong "the completion for bash does not parse"

open libmigrationcontrol-dev 'client library of migrationd'
holds usr/include/migrationcontrol/client.h usr/include/migrationcontrol/v1/migration_control.pb.h \
  usr/include/migrationcontrol/v1/migration_control.grpc.pb.h usr/include/migrationcontrol/v1/migration.pb.h \
  usr/share/migrationcontrol/proto/migrationcontrol/v1/{definition,migration,migration_control}.proto
holds_below usr/lib libmigrationcontrol.a pkgconfig/migrationcontrol.pc cmake/migrationcontrol/migrationcontrol-config.cmake
nothing_else 'usr/include/migrationcontrol/|usr/lib/.*migrationcontrol|usr/share/migrationcontrol/proto/'
depends 'libgrpc\+\+-dev' libprotobuf-dev libabsl-dev protobuf-compiler-grpc

open libmigrationd-dev 'migrationd as a library'
holds usr/include/migrationd/native.h usr/include/migrationd/run.h
holds_below usr/lib libmigrationd.a cmake/migrationd/migrationd-config.cmake cmake/migrationd/migrationdTargets.cmake
nothing_else 'usr/include/migrationd/(native|run)\.h$|usr/lib/([^/]+/)?(libmigrationd\.a$|cmake/migrationd/)'
depends 'libgrpc\+\+-dev' libprotobuf-dev libabsl-dev protobuf-compiler-grpc libpqxx-dev libpq-dev libssl-dev libspdlog-dev libfmt-dev \
  libyaml-cpp-dev prometheus-cpp-dev libcivetweb-dev pkg-config
# Its headers say all that a class needs.
if grep -hE '#include "' "$tree"/usr/include/migrationd/*.h | grep -vE '"absl/'; then wrong "a header of $package includes what is not installed"; fi
# Debugging information would be nine tenths of it, and name the folder it was compiled in.
while IFS= read -r archive; do
  if objdump --section-headers "$archive" | grep -F .debug_info >/dev/null; then wrong "$archive is not stripped"; fi
done < <(find "$tree" -name '*.a')
for program in "$work"/*/usr/bin/*; do
  if readelf --sections "$program" | grep -F .debug_info >/dev/null; then wrong "$program is not stripped"; fi
done

exit "$status"
