#!/bin/bash
# Once Elasticsearch answers: Kibana's login, and lines that end after 30 days.
set -euo pipefail

elastic=http://elasticsearch:9200
ask() {
    curl --fail --silent --show-error --config <(printf 'user = "elastic:%s"\n' "$(cat /run/secrets/elastic_password)") \
        --header 'content-type: application/json' "$@" >/dev/null
}
ask --data "{\"password\":\"$(cat /run/secrets/kibana_password)\"}" "$elastic/_security/user/kibana_system/_password"
ask --request PUT --data '{"index_patterns":["logs-tradesense-*"],"data_stream":{},"priority":500,
    "template":{"lifecycle":{"data_retention":"30d"},"settings":{"number_of_replicas":0}}}' \
    "$elastic/_index_template/tradesense"
