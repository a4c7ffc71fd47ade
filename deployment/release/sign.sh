#!/usr/bin/env bash
# Signs an image and what it is made of, in the name of the workflow that runs this; there is no key to keep.
#
#   sign.sh NAME@DIGEST SBOM
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

image=${1:?usage: sign.sh IMAGE SBOM}
sbom=${2:?usage: sign.sh IMAGE SBOM}
by_digest "$image"
cosign sign --yes "$image"
cosign attest --yes --type cyclonedx --predicate "$sbom" "$image"
