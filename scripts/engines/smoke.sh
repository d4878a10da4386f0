#!/usr/bin/env bash
# smoke.sh: true operations, with etcdctl, on the endpoints named by QUORATE_ETCD.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[[ -n ${QUORATE_ETCD:-} ]] || die "QUORATE_ETCD is not set: export \$(scripts/engines/start.sh)"
ctl=("$(bin etcdctl)" --endpoints="$QUORATE_ETCD")
key=smoke-$$-$RANDOM
is() { [[ $1 == "$2" ]] || die "smoke test: expected '$2', got '$1'"; }

"${ctl[@]}" put "$key" v1 >/dev/null
is "$("${ctl[@]}" get "$key" --print-value-only)" v1
# Create-if-absent on a lease: the lock primitive.
lease=$("${ctl[@]}" lease grant 5 | awk '{print $2}')
is "$(printf 'create("%s-l") = "0"\n\nput %s-l a --lease=%s\n\n\n' "$key" "$key" "$lease" | "${ctl[@]}" txn | head -1)" SUCCESS
is "$(printf 'create("%s-l") = "0"\n\nput %s-l b\n\n\n' "$key" "$key" | "${ctl[@]}" txn | head -1)" FAILURE
"${ctl[@]}" lease revoke "$lease" >/dev/null
is "$("${ctl[@]}" get "$key-l")" ''
"${ctl[@]}" del "$key" >/dev/null
log "$QUORATE_ETCD works"
