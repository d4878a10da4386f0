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

start_servers() {
  local port='' dir='' n='' extra=() as=() folder
  start_options "$@"
  folder=$(server_bin) || die 'PostgreSQL not found: run scripts/engines/postgres.sh install'
  claim postgres 1
  echo "$port" >"$dir/port"
  if is_root; then # it refuses to run as root
    as=(setpriv --reuid=postgres --regid=postgres --init-groups --)
    chmod 711 "$dir"
    mkdir -p "$dir/data" && chown postgres: "$dir/data" && chmod 700 "$dir/data"
  fi
  [[ -s $dir/data/PG_VERSION ]] || (cd / && "${as[@]}" "$folder/initdb" -D "$dir/data" -U postgres \
    -A trust -E UTF8 --locale=C --no-sync) >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; die 'initdb failed'; }
  if [[ -f $dir/data/postmaster.pid ]]; then settle "$dir"; fi
  # In DIR, which the user it runs as may enter.
  launch_command "$dir" env -C "$dir" "${as[@]}" "$folder/postgres" -D "$dir/data" -p "$port" \
    -c "listen_addresses=$host" -c unix_socket_directories= -c max_connections=200 "${extra[@]}"
  wait_for "$dir" "PostgreSQL in $dir" "$folder/pg_isready" -q -h "$host" -p "$port" ||
    die "PostgreSQL in $dir did not answer in time"
  echo "QUORATE_POSTGRES=postgres://postgres@$host:$port/postgres QUORATE_POSTGRES_DIR=$dir"
}

stop_servers() {
  local signal=INT rm='' dir='' pid children='' # INT ends its clients' connections; TERM would wait for them
  stop_options postgres.sh "$@"
  if [[ $signal == KILL ]] && alive "$dir"; then
    pid=$(<"$dir/pid")
    children=$(cat "/proc/$pid/task/$pid/children")
  fi
  # shellcheck disable=SC2086
  stop_node PostgreSQL "$signal" "$dir" $children
  if [[ -n $rm ]]; then settle "$dir"; rm -rf "$dir"; fi
}

engine_command postgres.sh "$@"
