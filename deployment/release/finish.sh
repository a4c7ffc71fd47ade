#!/usr/bin/env bash
# Sends people to the new processes of production, waits for the analysis' verdict, and goes back if it is bad.
#
#   finish.sh PLACE https://HOST
#
# The smoke of the new ones ran before they paused (tradesense-smoke); the analysis after the switch is tradesense-burn.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

place=${1:?usage: finish.sh PLACE URL}
url=${2:?usage: finish.sh PLACE URL}
overlay "$place"
rollouts=(tradesense-analytics tradesense-api)
of() { kubectl --namespace tradesense get "rollout/$1" --output "jsonpath={$2}"; }
patch() { kubectl --namespace tradesense patch "rollout/$1" --subresource=status --type=merge --patch "$2"; }

back() {
    say "$1; going back"
    for rollout in "${rollouts[@]}"; do
        patch "$rollout" '{"status":{"abort":true}}' || say "$rollout could not be told"
    done
    for rollout in "${rollouts[@]}"; do
        # Whoever was judged good is what one would go back to.
        [[ "$(of "$rollout" .status.phase)" != Healthy ]] ||
            say "$rollout stays with the new release, as workers and engines do: rollback.sh brings the one before"
    done
    "$here/smoke.sh" "$url" || say "and nobody serves: see docs/runbooks"
    exit 1
}

waiting=()
for rollout in "${rollouts[@]}"; do
    state=$(of "$rollout" '.status.phase}/{.status.stableRS}/{.status.currentPodHash')
    IFS=/ read -r phase stable current <<<"$state"
    case "$phase" in
        Paused) waiting+=("$rollout") ;;
        Healthy) [[ "$stable" == "$current" ]] || back "$rollout does not wait to be promoted ($state)" ;;
        *) back "$rollout does not wait to be promoted ($state)" ;;
    esac
done
for rollout in "${waiting[@]}"; do
    say "sending people to the new $rollout"
    patch "$rollout" '{"status":{"pauseConditions":null}}' || back "$rollout could not be promoted"
done
"$here/smoke.sh" "$url" || back "the new ones do not serve"
for rollout in "${waiting[@]}"; do
    verdict=
    for ((waited = 0; waited < ${FINISH_SECONDS:-1500}; waited += ${FINISH_STEP:-10})); do
        # Whoever cannot be asked for a moment has not said no.
        verdict=$(of "$rollout" '.status.phase} {.status.blueGreen.postPromotionAnalysisRunStatus.status') || verdict=
        case "$verdict" in
            "Healthy Successful") break ;;
            Degraded* | *Failed | *Error | *Inconclusive) back "$rollout: $verdict" ;;
        esac
        sleep "${FINISH_STEP:-10}"
    done
    [[ "$verdict" == "Healthy Successful" ]] || back "$rollout: no verdict in time ($verdict)"
done
"$here/smoke.sh" "$url" || back "they do not serve any more"
say "$place is promoted"
