#!/usr/bin/env bash
# check_unit.sh FILE: the service of systemd is as closed as the program allows, and stops and restarts as the program does.
# Prints what is wrong; exit status 1 if anything is.
set -euo pipefail
unit=${1:?usage: check_unit.sh FILE}
status=0

lines=(
  User=migrationd
  'ExecStart=/usr/bin/migrationd --config /etc/migrationd/migrationd.yaml'
  Restart=on-failure 'RestartPreventExitStatus=2 78'
  NoNewPrivileges=yes CapabilityBoundingSet= AmbientCapabilities=
  ProtectSystem=strict ProtectHome=yes PrivateTmp=yes PrivateDevices=yes PrivateUsers=yes
  ProtectClock=yes ProtectControlGroups=yes ProtectHostname=yes ProtectKernelLogs=yes ProtectKernelModules=yes ProtectKernelTunables=yes
  ProtectProc=invisible ProcSubset=pid
  'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6' RestrictNamespaces=yes RestrictRealtime=yes RestrictSUIDSGID=yes
  LockPersonality=yes MemoryDenyWriteExecute=yes
  SystemCallArchitectures=native SystemCallFilter=@system-service 'SystemCallFilter=~@privileged @resources'
  UMask=0077 LimitCORE=0
)
for line in "${lines[@]}"; do
  if ! grep -xF -e "$line" "$unit" >/dev/null; then
    echo "the unit has no line $line"
    status=1
  fi
done
seconds=$(sed -n 's/^TimeoutStopSec=\([0-9]*\)s$/\1/p' "$unit")
if ((${seconds:-0} <= 10)); then
  echo "TimeoutStopSec is ${seconds:-missing}; an orderly stop takes up to 10 s"
  status=1
fi

# What systemd itself says, where it is: a misspelt line is only a warning to it.
if command -v systemd-analyze >/dev/null; then
  said=$(systemd-analyze verify "$unit" 2>&1 | grep -vE 'is not executable|^$' || true)
  if [[ -n "$said" ]]; then
    printf 'systemd-analyze verify: %s\n' "$said"
    status=1
  fi
  # 15 is 1.5 of 10, of which 0.5 are for having a network.
  if ! said=$(systemd-analyze security --offline=true --threshold=15 "$unit" 2>&1); then
    printf 'systemd-analyze security: %s\n' "$(tail -n 2 <<<"$said")"
    status=1
  fi
fi

exit "$status"
