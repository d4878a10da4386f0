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
# wait_ready NODE_DIR PORT: until etcd answers a linearizable read; fails early if it died.
wait_ready() {
  local end=$(($(date +%s) + ${QUORATE_START_TIMEOUT:-90})) ctl
  ctl=$(bin etcdctl)
  until "$ctl" --endpoints="$host:$2" --command-timeout=2s endpoint health >/dev/null 2>&1; do
    if ! alive "$1"; then tail -n 20 "$1/log" >&2 || true; die "$1 died while starting"; fi
    if (($(date +%s) > end)); then tail -n 20 "$1/log" >&2 || true; die "$1 did not answer in time"; fi
    sleep 0.05
  done
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
