#!/bin/bash
# Once Elasticsearch answers: Kibana's login, and what the lines need.
set -euo pipefail

elastic=http://elasticsearch:9200
curl --fail --silent --show-error --config <(printf 'user = "elastic:%s"\n' "$(cat /run/secrets/elastic_password)") \
    --header 'content-type: application/json' --data "{\"password\":\"$(cat /run/secrets/kibana_password)\"}" \
    "$elastic/_security/user/kibana_system/_password" >/dev/null
exec bash /usr/local/lib/tradesense-logging/install.sh "$elastic"
