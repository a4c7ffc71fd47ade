#!/usr/bin/env bash
# Runs a command with a way into the cluster that ends with it. The cloud's login is the workflow's own.
#
#   CLUSTER=.. REGION=.. with-cluster.sh COMMAND..
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

KUBECONFIG=$(mktemp)
export KUBECONFIG
trap 'rm -f "$KUBECONFIG"' EXIT
aws eks update-kubeconfig --name "${CLUSTER:?}" --region "${REGION:?}" --kubeconfig "$KUBECONFIG" >&2
"$@"
