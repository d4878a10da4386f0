#!/usr/bin/env bash
# stop.sh [--kill] [--rm] DIR...: end the etcd nodes started under DIR, by pid.
#   DIR is a DATADIR of start.sh or one node of it (DATADIR/2).
#   --kill: no clean shutdown (SIGKILL, for crash tests).  --rm: remove DIR afterwards.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

sig=TERM rm='' dirs=()
for a; do
  case $a in
    --kill) sig=KILL ;;
    --rm) rm=1 ;;
    -*) die "unknown option: $a" ;;
    *) [[ -d $a ]] || die "no folder $a"; dirs+=("$a") ;;
  esac
done
((${#dirs[@]})) || die "usage: stop.sh [--kill] [--rm] DIR..."

mapfile -t nodes < <(find "${dirs[@]}" -maxdepth 2 -name started -printf '%h\n' | sort -u)
for d in "${nodes[@]}"; do
  # One after the other: a leader waits 7 s to hand over to a peer that is leaving too.
  end $sig 15 "$d"
  if alive "$d"; then log "$d: killed"; end KILL 5 "$d"; fi
  rm -f "$d/started" "$d/pid"
done
if [[ -n $rm ]]; then rm -rf "${dirs[@]}"; fi
