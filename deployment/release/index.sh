#!/usr/bin/env bash
# Makes one image of those for each kind of processor, for the platform and for backups, and writes `digest=..` and `backup=..` behind
# what OUTPUT holds.
#
#   index.sh NAME TAG DIRECTORY-OF-DIGESTS OUTPUT
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=${1:?usage: index.sh NAME TAG DIRECTORY OUTPUT}
tag=${2:?usage: index.sh NAME TAG DIRECTORY OUTPUT}
digests=${3:?usage: index.sh NAME TAG DIRECTORY OUTPUT}
output=${4:?usage: index.sh NAME TAG DIRECTORY OUTPUT}
[[ "$tag" =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "$tag is no version"

# one IMAGE: says the digest of the index over those that were built.
one() {
    local image=$1 digest images=()
    while IFS= read -r digest; do
        by_digest "$image@$digest"
        images+=("$image@$digest")
    done < <(cat "$digests/${image##*/}"/digest-*)
    ((${#images[@]} > 0)) || fail "no $image was built"
    docker buildx imagetools create --tag "$image:$tag" "${images[@]}" >&2 || fail "$image:$tag was not made"
    digest=$(docker buildx imagetools inspect "$image:$tag" --format '{{json .Manifest}}' | jq --raw-output .digest)
    by_digest "$image@$digest"
    echo "$digest"
}

built() { cat "$digests/${1##*/}"/digest-* | wc -l; }
(($(built "$name") == $(built "$name-backup"))) || fail "not for each kind of processor were both images built"
platform=$(one "$name")
backup=$(one "$name-backup")
printf 'digest=%s\nbackup=%s\n' "$platform" "$backup" >>"$output"
