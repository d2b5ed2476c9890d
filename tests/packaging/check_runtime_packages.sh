#!/usr/bin/env bash
# check_runtime_packages.sh DOCKERFILE PROGRAM...: the stage runtime installs the package of each library that a program asks for by name, so
# that no one finds out when the image is built. On Debian 12, whose packages they are; exit status 77 elsewhere. Prints what is wrong.
set -euo pipefail
dockerfile=${1:?usage: check_runtime_packages.sh DOCKERFILE PROGRAM...}
[[ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" == bookworm ]] || { echo 'not Debian 12'; exit 77; }
status=0

installed=" $(sed -n '/ AS runtime$/,/rm -rf/p' "$dockerfile" | tr -s '\\\n' ' ') "
# What the sanitizers need is not shipped.
libraries=$(objdump --private-headers "${@:2}" | awk '$1 == "NEEDED" && $2 !~ /^lib(asan|ubsan|tsan)\./ {print $2}' | sort -u)
# Awk reads to the end throughout: who writes into a pipe that is closed early fails, now and then.
for library in $libraries; do
  path=$(ldconfig -p | awk -v name="$library" '$1 == name && !n++ {print $NF}')
  package=$(dpkg-query --search "*/$library" | awk -v path="$path" -F ': ' '($2 == path || "/usr" $2 == path || $2 == "/usr" path) && !n++ {print $1}')
  package=${package%%:*}
  case "$package" in
    libc6 | libgcc-s1) continue ;;  # every Debian has them
  esac
  if [[ -z "$package" || "$installed" != *" $package "* ]]; then
    echo "runtime does not install ${package:-the package} of $library"
    status=1
  fi
done

exit "$status"
