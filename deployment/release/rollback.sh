#!/usr/bin/env bash
# Brings production back to a release that served before, workers and engines too, with the files of its revision. The schema stays: a
# release suits the schema of the one after it (docs/guides/upgrade.md). No backup is waited for.
#
#   rollback.sh PLACE https://HOST NAME@DIGEST BACKUP-NAME@DIGEST REVISION
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

place=${1:?usage: rollback.sh PLACE URL IMAGE BACKUP REVISION}
url=${2:?usage: rollback.sh PLACE URL IMAGE BACKUP REVISION}
image=${3:?usage: rollback.sh PLACE URL IMAGE BACKUP REVISION}
backup=${4:?usage: rollback.sh PLACE URL IMAGE BACKUP REVISION}
commit=${5:?usage: rollback.sh PLACE URL IMAGE BACKUP REVISION}
revision "$commit"
if [[ -z "${KUBERNETES_DIR:-}" ]]; then
    # An old program does not know the settings of a later one.
    before=$(mktemp -d)
    trap 'rm -rf "$before"' EXIT
    git -C "$root" archive "$commit" deployment | tar --extract --directory "$before" ||
        fail "the files of $commit are not here: git fetch"
    export KUBERNETES_DIR=$before/deployment/kubernetes
fi
ROLLBACK=yes "$here/deploy.sh" "$place" "$image" "$backup" "$commit"
"$here/finish.sh" "$place" "$url"
