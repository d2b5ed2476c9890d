#!/usr/bin/env bash
# check_dockerfile.sh ROOT: what the Dockerfile promises. That it builds is shown by scripts/image, which takes too long for a test.
# Prints what is wrong; exit status 1 if anything is.
set -euo pipefail
cd "${1:?usage: check_dockerfile.sh ROOT}"
status=0

wrong() {
  echo "Dockerfile: $1"
  status=1
}
# stage NAME: its lines, a continued one as one.
stage() { sed -e ':next' -e '/\\$/{N;s/\\\n *//;b next' -e '}' Dockerfile | awk -v name="$1" '/^FROM /{on = ($4 == name)} on && !/^#/'; }
last() { stage "$1" | grep "^$2 " | tail -n 1 || true; }

! grep -E '^HEALTHCHECK' Dockerfile >/dev/null || wrong "HEALTHCHECK: Kubernetes has probes of its own"
mapfile -t bases < <(awk '/^FROM /{print $2}' Dockerfile | sort -u)
[[ "${bases[*]}" == 'debian:bookworm-slim runtime' ]] || wrong "built on ${bases[*]}"
[[ "$(awk '/^FROM /{name = $4} END {print name}' Dockerfile)" == migrationd ]] || wrong "the default target is not migrationd"
[[ "$(last runtime USER)" == 'USER 65532:65532' ]] || wrong "runtime runs as $(last runtime USER)"
[[ "$(last dev USER)" == 'USER 65532:65532' ]] || wrong "dev runs as $(last dev USER)"
[[ -z "$(last migrationd USER)" ]] || wrong "migrationd has another user than runtime"
[[ "$(last runtime ENTRYPOINT)" == 'ENTRYPOINT ["/usr/bin/migrationd"]' ]] || wrong "$(last runtime ENTRYPOINT)"
[[ "$(last dev ENTRYPOINT)" == 'ENTRYPOINT ["/usr/bin/migrationd", "--dev=/var/lib/migrationd/dev", "--listen=0.0.0.0:50051"]' ]] ||
  wrong "$(last dev ENTRYPOINT)"
for target in migrationd dev; do
  for label in title description version revision created; do
    [[ "$(stage "$target" | grep '^LABEL ')" == *" org.opencontainers.image.$label="* ]] || wrong "$target has no label $label"
  done
done
stage build | grep -E '^RUN scripts/build release .*-DMIGRATIOND_HARDENED=ON' >/dev/null || wrong "does not compile the preset release, hardened"
stage build | grep -E 'cmake --install .*--strip' >/dev/null || wrong "installs programs that are not stripped"
# Neither compilers nor headers in what is shipped.
! stage runtime | grep -E -- '-dev( |$)|build-essential|g\+\+ |cmake' >/dev/null || wrong "runtime holds what only a build needs"
for name in build runtime dev; do
  while IFS= read -r line; do
    [[ "$line" == *'rm -rf /var/lib/apt/lists/*'* ]] || wrong "$name leaves apt's lists behind: ${line:0:60}"
  done < <(stage "$name" | grep -E '^RUN .*(apt-get install|install-packages)')
done
# Secrets and the machine's own builds stay outside.
[[ "$(grep -vE '^#|^$' .dockerignore | head -n 1)" == '*' ]] || wrong ".dockerignore does not begin with *"
while IFS= read -r kept; do
  [[ -e "${kept#!}" ]] || wrong ".dockerignore keeps ${kept#!}, which does not exist"
done < <(grep '^!' .dockerignore)

exit "$status"
