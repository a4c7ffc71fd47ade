#!/usr/bin/env bash
# Makes one image of those for each kind of processor, and writes `digest=..` behind what OUTPUT holds.
#
#   index.sh NAME TAG DIRECTORY-OF-DIGESTS OUTPUT
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=${1:?usage: index.sh NAME TAG DIRECTORY OUTPUT}
tag=${2:?usage: index.sh NAME TAG DIRECTORY OUTPUT}
output=${4:?usage: index.sh NAME TAG DIRECTORY OUTPUT}
[[ "$tag" =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "$tag is no version"
images=()
while IFS= read -r digest; do
    by_digest "$name@$digest"
    images+=("$name@$digest")
done < <(cat "${3:?usage: index.sh NAME TAG DIRECTORY OUTPUT}"/digest-*)
((${#images[@]} > 0)) || fail "no image was built"
docker buildx imagetools create --tag "$name:$tag" "${images[@]}" >&2
digest=$(docker buildx imagetools inspect "$name:$tag" --format '{{json .Manifest}}' | jq --raw-output .digest)
by_digest "$name@$digest"
echo "digest=$digest" >>"$output"
