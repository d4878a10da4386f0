#!/usr/bin/env bash
# Helpers shared by the scripts of this folder (sourced, not run).
set -euo pipefail

# Where built binaries live; nothing else is written outside temporary folders.
export QUORATE_ENGINES=${QUORATE_ENGINES:-$HOME/.cache/quorate-engines/bin}
host=127.0.0.1

log() { printf '%s\n' "$*" >&2; }
die() { log "error: $*"; exit 1; }

# bin NAME: our build first, else the PATH.
bin() {
  if [[ -x $QUORATE_ENGINES/$1 ]]; then echo "$QUORATE_ENGINES/$1"
  else command -v "$1" || die "$1 not found: run scripts/engines/install.sh"; fi
}

port_busy() { (exec 3<>"/dev/tcp/$host/$1") 2>/dev/null; }
# free_base COUNT: first port of a free block, below the ephemeral ports.
free_base() {
  local base i ok
  for _ in {1..50}; do
    base=$((10000 + RANDOM % (1200 - $1))); ok=1
    for ((i = 0; i < $1; i++)); do if port_busy $((base + i)); then ok=; break; fi; done
    [[ -n $ok ]] && { echo "$base"; return; }
  done
  die "no block of $1 free ports"
}

# A pid is only trusted together with its start time, so a reused pid is never signalled.
proc_stat() { # proc_stat PID: state and start time
  local s
  s=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # shellcheck disable=SC2086
  set -- ${s##*) }
  echo "$1 ${20}"
}
alive() { # alive NODE_DIR
  local st
  [[ -s $1/pid && -s $1/started ]] || return 1
  st=$(proc_stat "$(<"$1/pid")") || return 1
  [[ ${st#* } == "$(<"$1/started")" && ${st%% *} != [ZX] ]]
}
# launch NODE_DIR: start its run script detached; run execs, so the pid is the server's own.
launch() {
  setsid "$1/run" </dev/null >/dev/null 2>&1 8>&- &
  local pid=$! st
  echo "$pid" >"$1/pid"
  st=$(proc_stat "$pid") || die "could not start $1/run"
  echo "${st#* }" >"$1/started"
}
# end SIGNAL SECONDS NODE_DIR [PID...]: signal it, and these with it, and wait until it is gone.
end() {
  local t=$(($(date +%s) + $2))
  if ! alive "$3"; then return 0; fi
  kill -"$1" "$(<"$3/pid")" "${@:4}" 2>/dev/null || true
  while alive "$3" && (($(date +%s) <= t)); do sleep 0.05; done
}

# start_options ARG...: what every start takes, into port, dir, n and extra, which the caller declares.
# An empty n says that there is one server, in DIR itself; else DIR/1, 2, ... are the servers.
start_options() {
  while (($#)); do
    case $1 in
      --port) port=$2; shift 2 ;;
      --dir) dir=$2; shift 2 ;;
      -n) [[ -n $n ]] || die "unknown option: $1"; n=$2; n=${n:-0}; shift 2 ;;
      --) shift; extra=("$@"); break ;;
      *) die "unknown option: $1" ;;
    esac
  done
  [[ -z $n || $n =~ ^[1-9]$ ]] || die '-n takes 1 to 9'
}
# claim NAME COUNT: dir (a new one unless named) and port (that of before, else a free block of COUNT).
# Two starts at a time could pick the same port: the lock is held until the servers listen.
claim() {
  [[ -n $dir ]] || dir=$(mktemp -d "${TMPDIR:-/tmp}/quorate-$1.XXXXXX")
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  exec 8>"${TMPDIR:-/tmp}/quorate-$(id -u)-$1.lock"
  flock 8
  local first=$dir${n:+/1}
  if [[ -z $port && -f $first/port ]]; then port=$(<"$first/port"); fi
  if [[ -z $port || $port == 0 ]]; then port=$(free_base "$2"); fi
}
# launch_command NODE_DIR COMMAND...: write its run script, which logs to NODE_DIR/log, and launch it.
launch_command() {
  {
    printf '#!/usr/bin/env bash\nexec'
    printf ' %q' "${@:2}"
    printf ' >>%q 2>&1\n' "$1/log"
  } >"$1/run"
  chmod +x "$1/run"
  launch "$1"
}
# wait_for NODE_DIR WHO PROBE...: until PROBE succeeds; dies early if the server did; 1 if it takes too long.
wait_for() {
  local end=$(($(date +%s) + ${QUORATE_START_TIMEOUT:-90}))
  until "${@:3}" >/dev/null 2>&1; do
    if ! alive "$1"; then tail -n 20 "$1/log" >&2 || true; die "$2 died while starting"; fi
    if (($(date +%s) > end)); then return 1; fi
    sleep 0.05
  done
}

# stop_options SCRIPT ARG...: what its stop takes, into signal, rm and dir, which the caller declares.
stop_options() {
  local a
  for a in "${@:2}"; do
    case $a in
      --kill) signal=KILL ;;
      --rm) rm=1 ;;
      -*) die "unknown option: $a" ;;
      *) dir=$(cd "$a" && pwd) || die "no folder $a" ;;
    esac
  done
  [[ -n $dir ]] || die "usage: $1 stop [--kill] [--rm] DIR"
}
# stop_node WHO SIGNAL NODE_DIR [PID...]: end it, or die.
stop_node() {
  end "$2" 15 "$3" "${@:4}"
  if alive "$3"; then die "$1 in $3 does not end"; fi
  rm -f "$3/started" "$3/pid"
}
# stop_nodes SCRIPT WHO ARG...: its stop command, where DIR/1, 2, ... are the servers.
stop_nodes() {
  local signal=TERM rm='' dir='' d
  stop_options "$1" "${@:3}"
  for d in "$dir"/[1-9]; do stop_node "$2" "$signal" "$d"; done
  if [[ -n $rm ]]; then rm -rf "$dir"; fi
}
# engine_command SCRIPT ARG...: the command of a script that has install_server, start_servers and stop_servers.
engine_command() {
  case ${2:-} in
    install) install_server ;;
    start) start_servers "${@:3}" ;;
    stop) stop_servers "${@:3}" ;;
    *) die "usage: $1 install | start | stop (see its head)" ;;
  esac
}

# go_build FOLDER "MODULE@VERSION..." BINARY=PACKAGE...
# Builds into $QUORATE_ENGINES, with its caches in $build. The engines' go.mod files have replace lines,
# which `go install` refuses: a throw-away module that requires them builds the same code.
go_build() {
  local folder=$build/$1 get=$2 b
  shift 2
  mkdir -p "$folder/out"
  (
    cd "$folder"
    export CGO_ENABLED=0 GOWORK=off GOFLAGS='-modcacherw -buildvcs=false'
    export GOPATH=$build/go GOMODCACHE=$build/gomod GOCACHE=$build/gocache
    [[ -f go.mod ]] || go mod init "quorate.invalid/$(basename "$folder")" 2>/dev/null
    # shellcheck disable=SC2086
    nice -n 10 go get $get 2>go.log || { tail -n 5 go.log >&2; exit 1; }
    for b; do
      nice -n 10 go build -trimpath -ldflags '-s -w' -o "out/${b%%=*}" "${b#*=}" >&2 || exit 1
      mv -f "out/${b%%=*}" "$QUORATE_ENGINES/${b%%=*}"
    done
  )
}
