#!/usr/bin/env bash
# install.sh: build etcd's server and tools (etcd, etcdctl, etcdutl, etcd-benchmark) into
# $QUORATE_ENGINES, and the checker that ours is compared with (test/porcupine); does nothing where they
# are there already. Needs go, about a minute.
# QUORATE_KEEP_BUILD=1 keeps the download and compile caches ($QUORATE_ENGINES/.build).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=${ETCD_VERSION:-v3.6.16}
benchmark=${ETCD_BENCHMARK_VERSION:-v3.6.8} # the newest published root module
want="$version benchmark $benchmark"

mkdir -p "$QUORATE_ENGINES"
build=$QUORATE_ENGINES/.build
exec 9>"$QUORATE_ENGINES/.lock"
flock 9 # one installer at a time

installed() {
  local f=$QUORATE_ENGINES/.stamp-etcd
  [[ -f $f && $(<"$f") == "$want" ]] || return 1
  for f in etcd etcdctl etcdutl; do [[ -x $QUORATE_ENGINES/$f ]] || return 1; done
}

if ! installed; then
  command -v go >/dev/null || die "go is not installed: it is needed to build etcd"
  trap '[[ -n ${QUORATE_KEEP_BUILD:-} ]] || rm -rf "$build"' EXIT
  log "building etcd $version (about a minute)"
  x=go.etcd.io/etcd
  go_build etcd "$x/server/v3@$version $x/etcdctl/v3@$version $x/etcdutl/v3@$version" \
    etcd=$x/server/v3 etcdctl=$x/etcdctl/v3 etcdutl=$x/etcdutl/v3 || die "etcd could not be built"
  # The load generator lives in etcd's root module, and only the benchmarks need it. With a server
  # of another minor version it needs a module of its own.
  for folder in etcd etcd-benchmark; do
    go_build $folder "$x/v3/tools/benchmark@$benchmark" etcd-benchmark=$x/v3/tools/benchmark && break
  done || log "etcd-benchmark: not available, the benchmarks go without it"
  echo "$want" >"$QUORATE_ENGINES/.stamp-etcd"
fi

# The checker for linearizability that ours is compared with: test/porcupine/main.go.
porcupine=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../test/porcupine" && pwd)
stamp=$(cat "$porcupine"/go.* "$porcupine"/*.go | cksum)
if [[ ! -x $QUORATE_ENGINES/porcupine-check || ! -f $QUORATE_ENGINES/.stamp-porcupine ||
  $(<"$QUORATE_ENGINES/.stamp-porcupine") != "$stamp" ]]; then
  command -v go >/dev/null || die "go is not installed: it is needed to build test/porcupine"
  trap '[[ -n ${QUORATE_KEEP_BUILD:-} ]] || rm -rf "$build"' EXIT
  log "building porcupine-check"
  (
    cd "$porcupine"
    export CGO_ENABLED=0 GOWORK=off GOFLAGS='-modcacherw -buildvcs=false'
    export GOPATH=$build/go GOMODCACHE=$build/gomod GOCACHE=$build/gocache
    nice -n 10 go build -trimpath -ldflags '-s -w' -o "$QUORATE_ENGINES/porcupine-check" . >&2
  ) || die "porcupine-check could not be built"
  echo "$stamp" >"$QUORATE_ENGINES/.stamp-porcupine"
fi
log "etcd $("$QUORATE_ENGINES/etcd" --version | head -1 | awk '{print $3}') is in $QUORATE_ENGINES"
