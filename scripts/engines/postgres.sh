#!/usr/bin/env bash
# A private PostgreSQL on loopback, and how to install it.
#   postgres.sh install                          with apt, where the server is not there yet
#   postgres.sh start [--port N] [--dir DIR] [-- SERVER_OPTION...]
#       prints exports: QUORATE_POSTGRES=postgres://... QUORATE_POSTGRES_DIR=DIR
#       A DIR used before is started again, with its data and port.
#   postgres.sh stop [--kill] [--rm] DIR         --kill: as in a crash; --rm: removes DIR afterwards
# The tests start servers of their own: they need `install` alone.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

is_root() { [[ $(id -u) == 0 ]]; }

# The newest server; Debian keeps it off the PATH.
server_bin() {
  local folder
  folder=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
  if [[ -n $folder && -x $folder/initdb ]]; then echo "$folder"
  elif command -v initdb >/dev/null; then dirname "$(command -v initdb)"
  else return 1; fi
}

install_server() {
  local sudo='' policy=/usr/sbin/policy-rc.d
  if server_bin >/dev/null; then return; fi
  is_root || sudo=sudo
  # The package must not start a server of its own.
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
    # shellcheck disable=SC2064
    trap "$sudo rm -f $policy" EXIT
  fi
  $sudo apt-get -q update >&2
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
    install --no-install-recommends postgresql >&2
  server_bin >/dev/null || die 'PostgreSQL could not be installed'
}

# A killed server leaves its pid file, and processes that end a moment later.
settle() { # settle DIR
  local left
  for _ in {1..100}; do
    left=$(find /proc -maxdepth 2 -name cwd -lname "$1/data" 2>/dev/null | head -1) || true
    [[ -n $left ]] || { rm -f "$1/data/postmaster.pid"; return 0; }
    sleep 0.05
  done
  die "$1/data is still in use by ${left%/cwd}"
}

start_server() {
  local port='' dir='' extra=() as=() folder end
  while (($#)); do
    case $1 in
      --port) port=$2; shift 2 ;;
      --dir) dir=$2; shift 2 ;;
      --) shift; extra=("$@"); break ;;
      *) die "unknown option: $1" ;;
    esac
  done
  folder=$(server_bin) || die 'PostgreSQL not found: run scripts/engines/postgres.sh install'
  [[ -n $dir ]] || dir=$(mktemp -d "${TMPDIR:-/tmp}/quorate-postgres.XXXXXX")
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  exec 8>"${TMPDIR:-/tmp}/quorate-$(id -u)-postgres.lock"
  flock 8 # until it listens: two starts at a time could pick the same port
  if [[ -z $port && -f $dir/port ]]; then port=$(<"$dir/port"); fi
  if [[ -z $port || $port == 0 ]]; then port=$(free_base 1); fi
  echo "$port" >"$dir/port"
  if is_root; then # it refuses to run as root
    as=(setpriv --reuid=postgres --regid=postgres --init-groups --)
    chmod 711 "$dir"
    mkdir -p "$dir/data" && chown postgres: "$dir/data" && chmod 700 "$dir/data"
  fi
  [[ -s $dir/data/PG_VERSION ]] || (cd / && "${as[@]}" "$folder/initdb" -D "$dir/data" -U postgres \
    -A trust -E UTF8 --locale=C --no-sync) >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; die 'initdb failed'; }
  if [[ -f $dir/data/postmaster.pid ]]; then settle "$dir"; fi
  {
    printf '#!/usr/bin/env bash\ncd %q && exec' "$dir"
    printf ' %q' "${as[@]}" "$folder/postgres" -D "$dir/data" -p "$port" -c "listen_addresses=$host" \
      -c unix_socket_directories= -c max_connections=200 "${extra[@]}"
    printf ' >>log 2>&1\n'
  } >"$dir/run"
  chmod +x "$dir/run"
  launch "$dir"
  end=$(($(date +%s) + ${QUORATE_START_TIMEOUT:-90}))
  until "$folder/pg_isready" -q -h "$host" -p "$port"; do
    if ! alive "$dir"; then tail -n 20 "$dir/log" >&2; die "PostgreSQL in $dir died while starting"; fi
    if (($(date +%s) > end)); then die "PostgreSQL in $dir did not answer in time"; fi
    sleep 0.05
  done
  echo "QUORATE_POSTGRES=postgres://postgres@$host:$port/postgres QUORATE_POSTGRES_DIR=$dir"
}

stop_server() {
  local signal=INT rm='' dir='' pid pids # INT ends its clients' connections; TERM would wait for them
  for a; do
    case $a in
      --kill) signal=KILL ;;
      --rm) rm=1 ;;
      -*) die "unknown option: $a" ;;
      *) dir=$(cd "$a" && pwd) || die "no folder $a" ;;
    esac
  done
  [[ -n $dir ]] || die 'usage: postgres.sh stop [--kill] [--rm] DIR'
  if alive "$dir"; then
    pid=$(<"$dir/pid") pids=$pid
    [[ $signal == INT ]] || pids+=" $(cat "/proc/$pid/task/$pid/children")"
    # shellcheck disable=SC2086
    kill -"$signal" $pids 2>/dev/null || true
    for _ in {1..300}; do alive "$dir" || break; sleep 0.05; done
    alive "$dir" && die "PostgreSQL in $dir does not end"
  fi
  rm -f "$dir/started" "$dir/pid"
  if [[ -n $rm ]]; then settle "$dir"; rm -rf "$dir"; fi
}

command=${1:-}
shift || true
case $command in
  install) install_server ;;
  start) start_server "$@" ;;
  stop) stop_server "$@" ;;
  *) die 'usage: postgres.sh install | start | stop (see its head)' ;;
esac
