#!/usr/bin/env bash
# check_hardening.sh PROGRAM...: each was compiled as MIGRATIOND_HARDENED promises. Prints what is wrong; exit status 1 if anything is.
set -euo pipefail
(($# > 0)) || { echo 'usage: check_hardening.sh PROGRAM...' >&2; exit 2; }
status=0

for program in "$@"; do
  headers=$(readelf --wide --file-header --program-headers --dynamic --notes "$program")
  symbols=$(readelf --wide --dyn-syms "$program")
  expect() {  # expect WHAT TEXT PATTERN
    grep -E -e "$3" <<<"$2" >/dev/null && return
    echo "$program: $1"
    status=1
  }
  expect 'loaded at a fixed address (no PIE)' "$headers" 'Type: +DYN \(Position-Independent Executable'
  expect 'addresses of functions stay writable (no BIND_NOW)' "$headers" 'FLAGS.*NOW'
  expect 'no RELRO' "$headers" '^ *GNU_RELRO '
  expect 'an executable stack' "$headers" '^ *GNU_STACK .* RW '
  expect 'no stack protector' "$symbols" '__stack_chk_fail'
  expect 'no _FORTIFY_SOURCE' "$symbols" '__[a-z]+_chk(@|$)'
  expect 'no assertions of libstdc++' "$symbols" '__glibcxx_assert_fail'
  # Debian's start files carry no property IBT, so the program has none as a whole; its own functions are marked (endbr64) all the same.
  if [[ "$headers" == *X86-64* ]] && (($(LC_ALL=C grep -aoP '\xf3\x0f\x1e\xfa' "$program" | wc -l) < 1000)); then
    echo "$program: jumps may go anywhere (no -fcf-protection)"
    status=1
  fi
  # Relative ones (../../server/run.cc, as ccache makes them) name no folder.
  if LC_ALL=C grep -aoP '(?<![\w./-])/[\w./-]+/(server/run|client/cli/main)\.cc' "$program"; then
    echo "$program: names the folder it was compiled in (above)"
    status=1
  fi
done

exit "$status"
