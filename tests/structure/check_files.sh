#!/usr/bin/env bash
# check_files.sh ROOT: every shell script of the repository parses, and no file names a folder of the machine it was written on.
# Prints what is wrong; exit status 1 if anything is.
set -euo pipefail
cd "${1:?usage: check_files.sh ROOT}"
status=0

mapfile -t files < <(find . \( -path ./build -o -name .git -o -path ./.cache \) -prune -o -type f -print)

for file in "${files[@]}"; do
  IFS= read -r first <"$file" || true
  [[ "${first//$'\r'/}" =~ ^'#!'.*[/\ ](ba)?sh($|' ') ]] || continue
  bash -n "$file" || status=1
  if [[ ! -x "$file" ]]; then
    echo "$file: is a script and not executable"
    status=1
  fi
done

# In two pieces, so that this file does not name them.
machine='(^|[^[:alnum:]_.$}/-])/(wo''rk|ro''ot|ho''me/[a-z]+)(/|[^[:alnum:]_-]|$)'
if grep -nIE -e "$machine" "${files[@]}"; then
  echo 'A file names a folder of the machine it was written on (above).'
  status=1
fi

exit "$status"
