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
  local port='' dir='' n=1 extra=() server d p i all=
  start_options "$@"
  server=$(bin redis-server) || die 'Redis not found: run scripts/engines/redis.sh install'
  claim redis "$n"
  # Half a start leaves nothing running.
  trap '(($? == 0)) || stop_servers --kill "$dir"' EXIT
  for ((i = 1; i <= n; i++)); do
    d=$dir/$i p=$((port + i - 1))
    mkdir -p "$d/data"
    echo "$p" >"$d/port"
    launch_command "$d" "$server" --bind "$host" --port "$p" --dir "$d/data" --save '' \
      --appendonly yes --appendfsync always "${extra[@]}"
    wait_for "$d" "Redis in $d" answers "$p" || die "Redis in $d did not answer in time"
    all+=",$host:$p"
  done
  echo "QUORATE_REDIS=${all#,} QUORATE_REDIS_DIR=$dir"
}

stop_servers() { stop_nodes redis.sh Redis "$@"; }

engine_command redis.sh "$@"
