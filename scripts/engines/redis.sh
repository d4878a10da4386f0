#!/usr/bin/env bash
# Private Redis servers on loopback, and how to install them.
#   redis.sh install                             with apt, where the server is not there yet
#   redis.sh start [--port N] [--dir DIR] [-n NODES] [-- SERVER_OPTION...]
#       Independent masters, which keep all that they acknowledge. Prints exports:
#       QUORATE_REDIS=host:port,... QUORATE_REDIS_DIR=DIR
#       A DIR used before is started again, with its data and ports; DIR/1, 2, ... are the servers.
#   redis.sh stop [--kill] [--rm] DIR            --kill: as in a crash; --rm: removes DIR afterwards
# The tests start servers of their own: they need `install` alone.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

install_server() {
  local sudo='' policy=/usr/sbin/policy-rc.d
  if command -v redis-server >/dev/null; then return; fi
  [[ $(id -u) == 0 ]] || sudo=sudo
  # The package must not start a server of its own.
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
    # shellcheck disable=SC2064
    trap "$sudo rm -f $policy" EXIT
  fi
  $sudo apt-get -q update >&2
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
    install --no-install-recommends redis-server >&2
  command -v redis-server >/dev/null || die 'Redis could not be installed'
}

answers() { # answers PORT
  local reply
  exec 7<>"/dev/tcp/$host/$1" || return 1
  printf 'PING\r\n' >&7
  IFS= read -r -t 2 reply <&7 || reply=
  exec 7>&-
  [[ $reply == +PONG* ]]
}

start_servers() {
  local port='' dir='' n=1 extra=() server d p i end all=
  while (($#)); do
    case $1 in
      --port) port=$2; shift 2 ;;
      --dir) dir=$2; shift 2 ;;
      -n) n=$2; shift 2 ;;
      --) shift; extra=("$@"); break ;;
      *) die "unknown option: $1" ;;
    esac
  done
  [[ $n =~ ^[1-9]$ ]] || die '-n takes 1 to 9'
  server=$(bin redis-server) || die 'Redis not found: run scripts/engines/redis.sh install'
  [[ -n $dir ]] || dir=$(mktemp -d "${TMPDIR:-/tmp}/quorate-redis.XXXXXX")
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  exec 8>"${TMPDIR:-/tmp}/quorate-$(id -u)-redis.lock"
  flock 8 # until they listen: two starts at a time could pick the same port
  if [[ -z $port && -f $dir/1/port ]]; then port=$(<"$dir/1/port"); fi
  if [[ -z $port || $port == 0 ]]; then port=$(free_base "$n"); fi
  # Half a start leaves nothing running.
  trap '(($? == 0)) || stop_servers --kill "$dir"' EXIT
  for ((i = 1; i <= n; i++)); do
    d=$dir/$i p=$((port + i - 1))
    mkdir -p "$d/data"
    echo "$p" >"$d/port"
    {
      printf '#!/usr/bin/env bash\nexec'
      printf ' %q' "$server" --bind "$host" --port "$p" --dir "$d/data" --save '' \
        --appendonly yes --appendfsync always "${extra[@]}"
      printf ' >>%q 2>&1\n' "$d/log"
    } >"$d/run"
    chmod +x "$d/run"
    launch "$d"
    end=$(($(date +%s) + ${QUORATE_START_TIMEOUT:-90}))
    until answers "$p" 2>/dev/null; do
      if ! alive "$d"; then tail -n 20 "$d/log" >&2; die "Redis in $d died while starting"; fi
      if (($(date +%s) > end)); then die "Redis in $d did not answer in time"; fi
      sleep 0.05
    done
    all+=",$host:$p"
  done
  echo "QUORATE_REDIS=${all#,} QUORATE_REDIS_DIR=$dir"
}

stop_servers() {
  local signal=TERM rm='' dir='' d
  for a; do
    case $a in
      --kill) signal=KILL ;;
      --rm) rm=1 ;;
      -*) die "unknown option: $a" ;;
      *) dir=$(cd "$a" && pwd) || die "no folder $a" ;;
    esac
  done
  [[ -n $dir ]] || die 'usage: redis.sh stop [--kill] [--rm] DIR'
  for d in "$dir"/[1-9]; do
    if alive "$d"; then
      kill -"$signal" "$(<"$d/pid")" 2>/dev/null || true
      for _ in {1..300}; do alive "$d" || break; sleep 0.05; done
      alive "$d" && die "Redis in $d does not end"
    fi
    rm -f "$d/started" "$d/pid"
  done
  if [[ -n $rm ]]; then rm -rf "$dir"; fi
}

command=${1:-}
shift || true
case $command in
  install) install_server ;;
  start) start_servers "$@" ;;
  stop) stop_servers "$@" ;;
  *) die 'usage: redis.sh install | start | stop (see its head)' ;;
esac
