#!/usr/bin/env bash
# Brings production back to a release that served before, workers and engines too. The schema stays: a release suits the schema of the
# one after it (docs/guides/upgrade.md).
#
#   rollback.sh PLACE https://HOST NAME@DIGEST BACKUP-NAME@DIGEST REVISION
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

place=${1:?usage: rollback.sh PLACE URL IMAGE BACKUP REVISION}
url=${2:?usage: rollback.sh PLACE URL IMAGE BACKUP REVISION}
image=${3:?usage: rollback.sh PLACE URL IMAGE BACKUP REVISION}
backup=${4:?usage: rollback.sh PLACE URL IMAGE BACKUP REVISION}
commit=${5:?usage: rollback.sh PLACE URL IMAGE BACKUP REVISION}
"$here/deploy.sh" "$place" "$image" "$backup" "$commit"
"$here/finish.sh" "$place" "$url"
