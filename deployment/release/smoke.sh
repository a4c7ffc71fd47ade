#!/usr/bin/env bash
# Asks a place from outside what people ask, through its edge. Ends well only if every answer is as it must be.
#
#   smoke.sh https://HOST
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

url=${1:?usage: smoke.sh URL}
[[ "$url" == https://* ]] || fail "people come by https://, not to $url"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# asks PATH STATUS: the answer's head and body lie in $work then.
asks() {
    local status
    status=$(curl --silent --show-error --max-time 10 --retry 5 --retry-delay 2 --retry-connrefused \
        --dump-header "$work/head" --output "$work/body" --write-out '%{http_code}' "$url$1") || fail "$1: nobody answers"
    [[ "$status" == "$2" ]] || fail "$1 answers $status, not $2"
}
has() { grep -qi "^$1" "$work/head" || fail "$2 lacks the header $1"; }

asks /v1/firm 200
jq --exit-status .name "$work/body" >/dev/null || fail "/v1/firm names no firm"
for header in strict-transport-security content-security-policy x-content-type-options x-request-id; do
    has "$header" /v1/firm
done
asks /v1/programs 200
jq --exit-status 'type == "object" or type == "array"' "$work/body" >/dev/null || fail "/v1/programs is no JSON"
asks /v1/me 401
asks /v1/no-such-thing 404
asks /metrics 404
asks /health/ready 404
say "$url serves"
