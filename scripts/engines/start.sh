#!/usr/bin/env bash
# start.sh [--port N] [--dir DATADIR] [-n NODES] [-- ETCD_OPTION...]
#   Starts a private etcd (or a cluster of NODES) on loopback, waits until it answers and prints one
#   line of exports:  export $(scripts/engines/start.sh -n 3)
#   Without --port: a free block of ports. A DATADIR used before is started again with its data and
#   ports. DATADIR/1, 2, ... are the nodes, each with pid, log, data and run (the command line).
# start.sh --node DATADIR/I
#   Starts one stopped node again, with its data and port.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# wait_ready NODE_DIR PORT: until etcd answers a linearizable read.
wait_ready() {
  local ctl
  ctl=$(bin etcdctl)
  wait_for "$1" "$1" "$ctl" --endpoints="$host:$2" --command-timeout=2s endpoint health && return
  tail -n 20 "$1/log" >&2 || true
  die "$1 did not answer in time"
}

if [[ ${1:-} == --node ]]; then
  d=$(cd "${2:?node folder}" && pwd)
  p=$(<"$d/port") || die "$d is no node folder"
  alive "$d" || launch "$d"
  wait_ready "$d" "$p"
  exit 0
fi

port='' dir='' n=1 extra=()
start_options "$@"
etcd=$(bin etcd)
claim etcd $((2 * n))

cluster=
for ((i = 1; i <= n; i++)); do cluster+=",q$i=http://$host:$((port + 2 * i - 1))"; done
# Half a start leaves nothing running.
trap '(($? == 0)) || "$(dirname "${BASH_SOURCE[0]}")/stop.sh" --kill "$dir"' EXIT
for ((i = 1; i <= n; i++)); do
  d=$dir/$i p=$((port + 2 * i - 2))
  mkdir -p "$d"
  echo "$p" >"$d/port"
  launch_command "$d" "$etcd" --name "q$i" --data-dir "$d/data" --log-level warn \
    --listen-client-urls "http://$host:$p" --advertise-client-urls "http://$host:$p" \
    --listen-peer-urls "http://$host:$((p + 1))" --initial-advertise-peer-urls "http://$host:$((p + 1))" \
    --initial-cluster "${cluster#,}" --initial-cluster-token "quorate-$port" "${extra[@]}"
done
all=
for ((i = 1; i <= n; i++)); do
  p=$((port + 2 * i - 2))
  wait_ready "$dir/$i" "$p"
  all+=",$host:$p"
done
echo "QUORATE_ETCD=${all#,} QUORATE_ETCD_DIR=$dir"
