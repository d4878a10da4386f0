#!/usr/bin/env bash
# start.sh [--port N] [--dir DATADIR] [-n NODES] [-- ETCD_OPTION...]
#   Starts a private etcd (or a cluster of NODES) on loopback, waits until it answers and prints one
#   line of exports:  export $(scripts/engines/start.sh -n 3)
#   Without --port: a free block of ports. A DATADIR used before is started again with its data and
#   ports. DATADIR/1, 2, ... are the nodes, each with pid, log, data and run (the command line).
# start.sh --node DATADIR/I
#   Starts one stopped node again, with its data and port.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [[ ${1:-} == --node ]]; then
  d=$(cd "${2:?node folder}" && pwd)
  p=$(<"$d/port") || die "$d is no node folder"
  alive "$d" || launch "$d"
  wait_ready "$d" "$p"
  exit 0
fi

port='' dir='' n=1 extra=()
while (($#)); do
  case $1 in
    --port) port=$2; shift 2 ;;
    --dir) dir=$2; shift 2 ;;
    -n) n=$2; shift 2 ;;
    --) shift; extra=("$@"); break ;;
    *) die "unknown option: $1" ;;
  esac
done
[[ $n =~ ^[1-9]$ ]] || die "-n takes 1 to 9"
etcd=$(bin etcd)
[[ -n $dir ]] || dir=$(mktemp -d "${TMPDIR:-/tmp}/quorate-etcd.XXXXXX")
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

# Two starts at a time could pick the same port: the lock is held until etcd listens.
exec 8>"${TMPDIR:-/tmp}/quorate-$(id -u)-etcd.lock"
flock 8
if [[ -z $port && -f $dir/1/port ]]; then port=$(<"$dir/1/port"); fi
if [[ -z $port || $port == 0 ]]; then port=$(free_base $((2 * n))); fi

cluster=
for ((i = 1; i <= n; i++)); do cluster+=",q$i=http://$host:$((port + 2 * i - 1))"; done
# Half a start leaves nothing running.
trap '(($? == 0)) || "$(dirname "${BASH_SOURCE[0]}")/stop.sh" --kill "$dir"' EXIT
for ((i = 1; i <= n; i++)); do
  d=$dir/$i p=$((port + 2 * i - 2))
  mkdir -p "$d"
  echo "$p" >"$d/port"
  {
    printf '#!/usr/bin/env bash\nexec'
    printf ' %q' "$etcd" --name "q$i" --data-dir "$d/data" --log-level warn \
      --listen-client-urls "http://$host:$p" --advertise-client-urls "http://$host:$p" \
      --listen-peer-urls "http://$host:$((p + 1))" --initial-advertise-peer-urls "http://$host:$((p + 1))" \
      --initial-cluster "${cluster#,}" --initial-cluster-token "quorate-$port" "${extra[@]}"
    printf ' >>%q 2>&1\n' "$d/log"
  } >"$d/run"
  chmod +x "$d/run"
  launch "$d"
done
all=
for ((i = 1; i <= n; i++)); do
  p=$((port + 2 * i - 2))
  wait_ready "$dir/$i" "$p"
  all+=",$host:$p"
done
echo "QUORATE_ETCD=${all#,} QUORATE_ETCD_DIR=$dir"
