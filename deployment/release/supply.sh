#!/usr/bin/env bash
# Licences, sources, doubles and advisories of everything that is compiled in. Without a network advisories are left out, and said so.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=0.20.2
if ! command -v cargo-deny >/dev/null; then
    cargo install --locked --quiet "cargo-deny@$version"
fi
cd "$root"
if [[ -n "${OFFLINE:-}" ]]; then
    say "offline: advisories are not looked at"
    cargo deny --offline --locked check bans licenses sources
else
    cargo deny --locked check
fi
