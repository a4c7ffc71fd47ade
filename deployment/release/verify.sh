#!/usr/bin/env bash
# Refuses an image unless this repository's release workflow signed it, said what is in it, and built it.
#
#   verify.sh NAME@DIGEST
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

image=${1:?usage: verify.sh IMAGE}
repository=${GITHUB_REPOSITORY:?the repository that releases, OWNER/NAME}
by_digest "$image"
identity="^https://github\\.com/${repository//./\\.}/\\.github/workflows/release\\.yml@refs/tags/v[0-9]+\\.[0-9]+\\.[0-9]+\$"
signer=(--certificate-oidc-issuer https://token.actions.githubusercontent.com --certificate-identity-regexp "$identity")
cosign verify "${signer[@]}" "$image" >/dev/null || fail "$image is not signed by $repository"
cosign verify-attestation "${signer[@]}" --type cyclonedx "$image" >/dev/null || fail "nobody says what is in $image"
gh attestation verify "oci://$image" --repo "$repository" \
    --signer-workflow "$repository/.github/workflows/release.yml" >/dev/null || fail "nobody says where $image was built"
say "$image is ours"
