#!/usr/bin/env bash
# What the program is compiled from, as CycloneDX: every package of the lock file that the binary uses, with its checksum.
#
#   sbom.sh OUT
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out=${1:?usage: sbom.sh OUT}
cd "$root"
sums=$(awk -F'"' '/^name = /{n=$2} /^version = /{v=$2} /^checksum = /{print n"@"v" "$2}' Cargo.lock |
    jq --raw-input --null-input '[inputs | split(" ") | {key: .[0], value: .[1]}] | from_entries')
cargo metadata --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu |
    jq --argjson sums "$sums" --arg commit "$(git rev-parse HEAD)" '
        (.packages | map({key: .id, value: .}) | from_entries) as $by
        | (.resolve.nodes | map({key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind != "dev")) | .pkg]}) | from_entries) as $needs
        | def reach($todo; $seen): if $todo == [] then $seen else
              ($todo | map($needs[.][]) | unique | map(select($seen[.] | not))) as $next
              | reach($next; $seen + ($next | map({key: ., value: true}) | from_entries)) end;
          first(.packages[] | select(.name == "tradesense")) as $program
        | reach([$program.id]; {($program.id): true}) as $used
        | {bomFormat: "CycloneDX", specVersion: "1.6", version: 1,
           metadata: {component: {type: "application", name: "tradesense", version: $program.version, "bom-ref": "tradesense",
               properties: [{name: "git.commit", value: $commit}]}},
           components: [$used | keys[] | $by[.] | select(.source != null)
               | {type: "library", name, version, purl: "pkg:cargo/\(.name)@\(.version)", "bom-ref": "\(.name)@\(.version)",
                  licenses: [if .license then {expression: (.license | gsub("/"; " OR "))} else empty end],
                  hashes: [if $sums["\(.name)@\(.version)"] then {alg: "SHA-256", content: $sums["\(.name)@\(.version)"]} else empty end]}]}' \
        >"$out"
say "$(jq '.components | length' "$out") packages in $out"
