#!/bin/sh
set -eu
exec valkey-server /etc/valkey/cache.conf
