#!/usr/bin/env bash
# Builds the image for this machine's kind of processor, pushes it under no name, and writes its digest.
#
#   build.sh NAME OUT
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=${1:?usage: build.sh NAME OUT}
out=${2:?usage: build.sh NAME OUT}
commit=$(git -C "$root" rev-parse HEAD)
mkdir -p "$out"
docker buildx build "$root" --file "$root/deployment/docker/Dockerfile" \
    --build-arg "REVISION=$commit" \
    --build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)" \
    --build-arg "SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --pretty=%ct)" \
    --output "type=image,name=$name,push-by-digest=true,name-canonical=true,push=true,rewrite-timestamp=true" \
    --provenance mode=max --sbom true --metadata-file "$out/metadata.json"
digest=$(jq --raw-output '."containerimage.digest"' "$out/metadata.json")
by_digest "$name@$digest"
echo "$digest" >"$out/digest-$(uname -m)"
