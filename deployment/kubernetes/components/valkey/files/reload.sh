#!/bin/sh
# Has the server beside it read its file of rules again, and says since when the file is what it is:
#
#   kubectl exec valkey-queue-0 -- sh /etc/valkey/reload.sh
#
# Whoever is connected stays so, and a file with a mistake changes nothing. The password goes in through the pipe.
set -eu
dir=/run/secrets/valkey
said="$(printf 'auth operator %s\nacl load\n' "$(cat "$dir/operator-password")" | valkey-cli 2>&1)"
if [ "$(echo "$said" | grep -c '^OK$')" != 2 ]; then
  echo "$(hostname): refused: $said" >&2
  exit 1
fi
echo "$(hostname): works by the rules of $(date -u -r "$dir/users.acl" +%Y-%m-%dT%H:%M:%SZ)"
