#!/usr/bin/env bash
# check_configuration.sh MIGRATIOND FILE: the example configuration is refused as it stands, since nothing is filled in, and accepted with its
# examples; each of its options is therefore one of the program's. Prints what is wrong; exit status 1 if anything is.
set -euo pipefail
migrationd=${1:?usage: check_configuration.sh MIGRATIOND FILE} file=${2:?}
folder=$(mktemp -d)
filled=$folder/migrationd.yaml
trap 'rm -rf "$folder"' EXIT
for variable in "${!MIGRATIOND_@}"; do unset "$variable"; done

code=0
said=$("$migrationd" --config "$file" --check-config 2>&1) || code=$?
if [[ $code != 78 || "$said" != *'no control store'* ]]; then
  echo "as it stands: exit status $code instead of 78: $said"
  exit 1
fi
# Examples begin right after the #, sentences after a blank.
sed -E -e 's/^#( {2}[a-z]|[a-z_]+:)/\1/' -e "s|/etc/migrationd/|$folder/|g" "$file" >"$filled"
(($(grep -cE '^ *[a-z_]+:' "$filled") >= 6)) || { echo "there are hardly any examples in $file"; exit 1; }
code=0
said=$("$migrationd" --config "$filled" --check-config 2>&1) || code=$?
if ((code != 78)) || [[ "$said" != *control-url* ]]; then
  echo "without the files that it names: exit status $code instead of 78: $said"
  exit 1
fi
mkdir "$folder/migrations"
for url in control main; do echo 'postgresql://migrationd:secret@db1/control' >"$folder/$url-url"; done
code=0
said=$("$migrationd" --config "$filled" --check-config 2>&1) || code=$?
if ((code != 0)); then
  echo "with its examples: exit status $code: $said"
  exit 1
fi
