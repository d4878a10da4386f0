#!/usr/bin/env bash
# all.sh [--install] [-n NODES] [-- COMMAND...]
#   Starts a private etcd (one node), checks it with etcdctl and prints its exports:
#     export $(scripts/engines/all.sh --install);  ...;  scripts/engines/stop.sh --rm $QUORATE_ETCD_DIR
#   With COMMAND: runs it with the exports, then stops everything; its exit status is passed on.
#   --install runs install.sh first.
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/lib.sh"

n=1 cmd=()
while (($#)); do
  case $1 in
    --install) "$here/install.sh"; shift ;;
    -n) n=$2; shift 2 ;;
    --) shift; cmd=("$@"); break ;;
    *) die "unknown option: $1" ;;
  esac
done

exports=$("$here/start.sh" -n "$n")
# shellcheck disable=SC2086
export $exports
finish() {
  local rc=$?
  if ((rc || ${#cmd[@]})); then "$here/stop.sh" --rm "$QUORATE_ETCD_DIR"; fi
}
trap finish EXIT
"$here/smoke.sh"
if ((${#cmd[@]})); then "${cmd[@]}"; else echo "$exports"; fi
