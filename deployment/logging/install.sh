#!/bin/bash
# Tells Elasticsearch what the lines need: how long they live, their fields, their streams, and the user by whom Vector writes.
#
#   ELASTIC_PASSWORD_FILE=FILE LOGS_PASSWORD_FILE=FILE [ELASTIC_USER=elastic] [ELASTIC_CA=FILE] deployment/logging/install.sh URL
#
# The first file holds the password of somebody who may do this, the second the one that the user `tradesense_logs` gets. Again after each
# release: what is there is replaced.
set -euo pipefail

url="${1:?usage: install.sh URL}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/elasticsearch"

# put PATH: with what it reads as the body.
put() {
    curl --fail --silent --show-error ${ELASTIC_CA:+--cacert "$ELASTIC_CA"} \
        --config <(printf 'user = "%s:%s"\n' "${ELASTIC_USER:-elastic}" "$(cat "$ELASTIC_PASSWORD_FILE")") \
        --header 'content-type: application/json' --request PUT --data-binary @- "$url/$1" >/dev/null
    echo "put $1"
}

put _ilm/policy/tradesense-logs-30d <"$here/lifecycle.json"
put _component_template/tradesense-logs-settings <"$here/settings.json"
put _component_template/tradesense-logs-mappings <"$here/mappings.json"
put _index_template/tradesense-logs <"$here/template.json"
put _security/role/tradesense_logs <"$here/role.json"
printf '{"password":"%s","roles":["tradesense_logs"],"full_name":"Vector"}' "$(cat "$LOGS_PASSWORD_FILE")" |
    put _security/user/tradesense_logs
