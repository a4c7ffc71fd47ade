#!/usr/bin/env bash
# Runs a command signed in to the registry, and signs out whatever comes of it.
#
#   REGISTRY_USER=.. REGISTRY_TOKEN=.. with-registry.sh COMMAND..
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

registry=${REGISTRY:-ghcr.io}
DOCKER_CONFIG=$(mktemp -d)
export DOCKER_CONFIG
trap 'rm -rf "$DOCKER_CONFIG"' EXIT
docker login "$registry" --username "${REGISTRY_USER:?}" --password-stdin <<<"${REGISTRY_TOKEN:?}" >&2
unset REGISTRY_TOKEN
"$@"
