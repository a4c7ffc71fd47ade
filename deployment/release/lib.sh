# What the release's scripts have in common. They run in the pipeline and on any machine; what they call is on the PATH.
# shellcheck shell=bash
set -euo pipefail
# What fails within $(..) fails.
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export here root

say() { echo "release: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

# by_digest IMAGE: refuses what a tag could move.
by_digest() {
    [[ "$1" =~ ^[a-z0-9./_-]+@sha256:[0-9a-f]{64}$ ]] || fail "$1 is not NAME@sha256:DIGEST"
}

# overlay NAME: refuses a place that there is not.
overlay() {
    [[ "$1" =~ ^[a-z0-9-]+$ ]] || fail "$1 is no name of a place"
    [[ -d "${KUBERNETES_DIR:-$root/deployment/kubernetes}/overlays/$1" ]] || fail "there is no place $1"
}

# revision TEXT: what may stand in a name of Kubernetes.
revision() { [[ "$1" =~ ^[0-9a-f]{7,40}$ ]] || fail "$1 is no revision"; }
