#!/usr/bin/env bash
# Private Consul servers on loopback, and how to build one.
#   consul.sh install                            builds it into $QUORATE_ENGINES where it is not there yet:
#                                                needs go, six to ten minutes. QUORATE_KEEP_BUILD=1 keeps
#                                                the download and compile caches ($QUORATE_ENGINES/.build).
#   consul.sh start [--port N] [--dir DIR] [-n NODES] [-- AGENT_OPTION...]
#       One cluster of servers. Prints exports: QUORATE_CONSUL=host:port,... QUORATE_CONSUL_DIR=DIR
#       A DIR used before is started again, with its data and ports; DIR/1, 2, ... are the servers.
#       Sessions of less than 10 s:  -- -hcl 'session_ttl_min="1s"'
#   consul.sh stop [--kill] [--rm] DIR           --kill: as in a crash; --rm: removes DIR afterwards
# The tests start servers of their own: they need `install` alone. Consul is a tool here, and never shipped.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=${CONSUL_VERSION:-v1.22.7}
api=${CONSUL_API_VERSION:-v1.34.1} # the server needs fields that the one it names itself lacks

install_server() {
  local stamp=$QUORATE_ENGINES/.stamp-consul
  mkdir -p "$QUORATE_ENGINES"
  exec 9>"$QUORATE_ENGINES/.lock"
  flock 9 # one installer at a time
  if [[ -x $QUORATE_ENGINES/consul && -f $stamp && $(<"$stamp") == "$version" ]]; then return; fi
  command -v go >/dev/null || die 'go is not installed: it is needed to build Consul'
  build=$QUORATE_ENGINES/.build
  trap '[[ -n ${QUORATE_KEEP_BUILD:-} ]] || rm -rf "$build"' EXIT
  log "building Consul $version (six to ten minutes)"
  local x=github.com/hashicorp/consul
  go_build consul "$x@$version $x/api@$api" consul=$x || die 'Consul could not be built'
  echo "$version" >"$stamp"
}

http() { # http PORT PATH: headers and body
  timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1" && printf "GET %s HTTP/1.0\r\n\r\n" "$2" >&3 && cat <&3' \
    "$host" "$1" "$2" 2>/dev/null
}
answers() { # answers PORT: it knows a leader, and itself as a node, which sessions need
  http "$1" /v1/status/leader | grep -q '"127' && http "$1" /v1/catalog/nodes | grep -q '"Node"'
}

start_servers() {
  local port='' dir='' n=1 extra=() server d p i join='' all=
  start_options "$@"
  server=$(bin consul) || die 'Consul not found: run scripts/engines/consul.sh install'
  claim consul $((3 * n))
  for ((i = 1; i <= n; i++)); do join+=",\"$host:$((port + 3 * i - 2))\""; done
  # Half a start leaves nothing running.
  trap '(($? == 0)) || stop_servers --kill "$dir"' EXIT
  for ((i = 1; i <= n; i++)); do
    d=$dir/$i p=$((port + 3 * i - 3)) # three ports each: clients, gossip, servers
    mkdir -p "$d"
    echo "$p" >"$d/port"
    cat >"$d/consul.json" <<JSON
{ "node_name": "q$i", "server": true, "bootstrap_expect": $n, "data_dir": "$d/data", "log_level": "warn",
  "bind_addr": "$host", "client_addr": "$host", "retry_join": [${join#,}], "retry_interval": "1s",
  "ports": { "http": $p, "serf_lan": $((p + 1)), "server": $((p + 2)),
    "serf_wan": -1, "dns": -1, "grpc": -1, "grpc_tls": -1 },
  "performance": { "raft_multiplier": 1 }, "connect": { "enabled": false }, "peering": { "enabled": false },
  "ui_config": { "enabled": false }, "disable_update_check": true, "disable_anonymous_signature": true }
JSON
    launch_command "$d" "$server" agent -config-file "$d/consul.json" "${extra[@]}"
  done
  for ((i = 1; i <= n; i++)); do
    d=$dir/$i p=$((port + 3 * i - 3))
    wait_for "$d" "Consul in $d" answers "$p" || die "Consul in $d did not answer in time"
    all+=",$host:$p"
  done
  echo "QUORATE_CONSUL=${all#,} QUORATE_CONSUL_DIR=$dir"
}

stop_servers() { stop_nodes consul.sh Consul "$@"; }

engine_command consul.sh "$@"
