#!/usr/bin/env bash
# Signs images and what the program in them is made of, in the name of the workflow that runs this; there is no key to keep.
#
#   sign.sh SBOM NAME@DIGEST..
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

sbom=${1:?usage: sign.sh SBOM IMAGE..}
shift
(($# > 0)) || fail "no image to sign"
for image in "$@"; do by_digest "$image"; done
for image in "$@"; do
    cosign sign --yes "$image"
    cosign attest --yes --type cyclonedx --predicate "$sbom" "$image"
done
