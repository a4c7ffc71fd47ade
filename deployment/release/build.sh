#!/usr/bin/env bash
# Builds the image for this machine's kind of processor and that of backups upon it, pushes both under no name, and writes their digests.
#
#   build.sh NAME OUT
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=${1:?usage: build.sh NAME OUT}
out=${2:?usage: build.sh NAME OUT}
commit=$(git -C "$root" rev-parse HEAD)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
time=$(git -C "$root" log -1 --pretty=%ct)

# The builder that is there cannot push by digest. Its own image is pinned like every other.
builder=tradesense-$$
docker buildx create --name "$builder" --driver docker-container \
    --driver-opt image=moby/buildkit:v0.29.0@sha256:0039c1d47e8748b5afea56f4e85f14febaf34452bd99d9552d2daa82262b5cc5 >&2
trap 'docker buildx rm "$builder" >&2' EXIT

# push NAME FILE CONTEXT..: writes the digest behind OUT/NAME-WITHOUT-ITS-PLACE.
push() {
    local image=$1 file=$2 digest
    shift 2
    mkdir -p "$out/${image##*/}"
    docker buildx build "$@" --builder "$builder" --file "$root/$file" \
        --build-arg "REVISION=$commit" --build-arg "VERSION=$version" --build-arg "SOURCE_DATE_EPOCH=$time" \
        --output "type=image,name=$image,push-by-digest=true,name-canonical=true,push=true,rewrite-timestamp=true" \
        --provenance mode=max --sbom true --metadata-file "$out/metadata.json"
    digest=$(jq --raw-output '."containerimage.digest"' "$out/metadata.json")
    by_digest "$image@$digest"
    echo "$digest" >"$out/${image##*/}/digest-$(uname -m)"
}

push "$name" deployment/docker/Dockerfile "$root"
push "$name-backup" deployment/backup/Dockerfile "$root/deployment/backup" \
    --build-arg "TRADESENSE_IMAGE=$name@$(cat "$out/${name##*/}/digest-$(uname -m)")"
