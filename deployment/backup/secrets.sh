#!/bin/sh
# Seals the secrets of an installation to people who keep a key offline, either of whom alone can open them.
#
#   secrets.sh seal DIRECTORY RECIPIENTS PATH...     makes DIRECTORY/secrets-TIME.age
#   secrets.sh send RECIPIENTS PATH...               seals, and puts the file where rclone puts it: SECRETS_PLACE, such as :s3:BUCKET/keys
#   secrets.sh open FILE IDENTITY DIRECTORY          opens it into a directory that is not there yet
#
# RECIPIENTS is a file with the public keys of at least two people, a line each (`age-keygen -y`); IDENTITY one of their secret keys. The
# PATHs are the directory of keys (receipt.key, audit.key, people.kek, people/), and what else is secret: deployment/secrets, the folder
# with the keys of providers of money. Each is stored under its own last name.
#
# Never keep these files where backups of the database are: both together bring back who was erased. Those older than
# SECRETS_KEEP days (30) are removed for the same reason; in a bucket that is for the bucket to do, and nobody who sends may delete.
set -eu
umask 077
fail() {
    echo "secrets: $*" >&2
    exit 1
}

seal() {
    to=$1 recipients=$2
    shift 2
    count=$(grep -cE '^(age1|ssh-)' "$recipients") || true
    [ "$count" -ge 2 ] || fail "$recipients names $count people: one who is gone must not be the only one"
    keys=''
    for path in "$@"; do
        [ -e "$path" ] || fail "$path is not there"
        for kek in "$path"/people*.kek; do
            [ ! -e "$kek" ] || keys=$path
        done
    done
    [ -n "$keys" ] || fail "none of these is the directory of keys: it holds people.kek or a later one"
    for name in receipt.key audit.key people; do
        [ -e "$keys/$name" ] || fail "$keys holds no $name"
    done
    mkdir -p "$to"
    file=$to/secrets-$(date -u +%Y%m%dT%H%M%SZ).age
    [ ! -e "$file" ] || fail "$file is there"
    # `tar -C here name -C there name`: no path of this machine goes along.
    first=yes
    for path in "$@"; do
        [ "$first" = no ] || set --
        first=no
        set -- "$@" -C "$(cd "$(dirname "$path")" && pwd)" "$(basename "$path")"
    done
    # A pipe's first part may fail unseen: it says so in a file.
    rm -f "$file.part" "$file.packed"
    { tar -cf - "$@" && : >"$file.packed"; } | age --encrypt --recipients-file "$recipients" --output "$file.part"
    [ -e "$file.packed" ] || fail "packing failed"
    rm "$file.packed"
    sync "$file.part"
    mv "$file.part" "$file"
    find "$to" -maxdepth 1 -name 'secrets-*.age' -mtime "+${SECRETS_KEEP:-30}" -delete
    echo "$file"
}

send() {
    : "${SECRETS_PLACE:?says where sealed files go}"
    made=$(mktemp -d)
    trap 'rm -rf "$made"' EXIT
    file=$(seal "$made" "$@")
    # It compares what arrived by its sum, and never writes over what is there.
    rclone --config /dev/null copyto --immutable --s3-no-check-bucket "$file" "$SECRETS_PLACE/${file##*/}"
    echo "$SECRETS_PLACE/${file##*/}"
}

open_sealed() {
    file=$1 identity=$2 to=$3
    [ ! -e "$to" ] || fail "$to is there: nothing is opened over anything"
    mkdir -m 0700 "$to.part"
    # Nothing of a file that was changed is believed: it is opened whole before it is unpacked.
    if age --decrypt --identity "$identity" --output "$to.part/.packed" "$file"; then
        tar -C "$to.part" --no-same-owner -xpf "$to.part/.packed"
        rm "$to.part/.packed"
        mv "$to.part" "$to"
    else
        rm -rf "$to.part"
        fail "$file does not open with this key"
    fi
}

case ${1:-} in
    seal)
        [ $# -ge 4 ] || fail "seal DIRECTORY RECIPIENTS PATH..."
        shift
        seal "$@"
        ;;
    send)
        [ $# -ge 3 ] || fail "send RECIPIENTS PATH..."
        shift
        send "$@"
        ;;
    open)
        [ $# -eq 4 ] || fail "open FILE IDENTITY DIRECTORY"
        open_sealed "$2" "$3" "$4"
        ;;
    *) fail "seal, send or open" ;;
esac
