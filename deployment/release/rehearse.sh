#!/usr/bin/env bash
# Everything about the deployment that can be shown without a cluster, as the pipeline runs it.
#
#   rehearse.sh [--quick]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$root"
sudo=()
if ((EUID != 0)); then sudo=(sudo "--preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME"); fi
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -q >&2
"${sudo[@]}" apt-get install -q -y --no-install-recommends postgresql pgbouncer redis-server nginx-light prometheus prometheus-alertmanager \
    prometheus-postgres-exporter prometheus-redis-exporter buildah debootstrap binutils npm shellcheck iproute2 jq restic rclone barman-cli-cloud age busybox curl openssl >&2
# What the checks of dependencies need: all sources, and the program that looks at them.
cargo fetch --locked
OFFLINE=1 "$here/supply.sh"
cargo build --package tradesense --package xtask
"${sudo[@]}" env "PATH=$PATH" cargo xtask verify deployment "$@"
