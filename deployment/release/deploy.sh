#!/usr/bin/env bash
# Brings a place to an image: verified first, a point to come back to (production), the schema, then the processes beside the old ones.
#
#   deploy.sh PLACE NAME@DIGEST BACKUP-NAME@DIGEST REVISION
#
# Nobody is sent to the new ones of production before finish.sh; staging switches by itself after its smoke. Again with what runs already it
# changes what else has changed, and what was broken off is tried once more.
#
# ROLLBACK=yes    there is no time for a point to come back to
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

place=${1:?usage: deploy.sh PLACE IMAGE BACKUP REVISION}
image=${2:?usage: deploy.sh PLACE IMAGE BACKUP REVISION}
backup=${3:?usage: deploy.sh PLACE IMAGE BACKUP REVISION}
commit=${4:?usage: deploy.sh PLACE IMAGE BACKUP REVISION}
overlay "$place"
by_digest "$image"
by_digest "$backup"
revision "$commit"
[[ "$place" != dev ]] || fail "dev is not released to: deployment/kubernetes/apply dev"

# Who may say yes is a setting of the repository; a place that is missing there is made without anybody.
if [[ "$place" == production* && -n "${GITHUB_ACTIONS:-}" ]]; then
    rules=$(gh api "repos/$GITHUB_REPOSITORY/environments/$place" --jq '[.protection_rules[].type] | join(" ")')
    [[ " $rules " == *" required_reviewers "* ]] || fail "nobody has to say yes before $place: docs/guides/release.md"
fi
"$here/verify.sh" "$image"
"$here/verify.sh" "$backup"

# A copy of what is committed, with both images and the revision written into it.
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cp -R "${KUBERNETES_DIR:-$root/deployment/kubernetes}/." "$tree"
common="$tree/overlays/$place/common/kustomization.yaml"
named() { printf '/^ *- name: %s$/,/^ *digest:/{s|^\( *newName:\).*|\\1 %s|;s|^\( *digest:\).*|\\1 %s|}' "$1" "${2%@*}" "${2#*@}"; }
sed -i -e "$(named tradesense "$image")" -e "$(named tradesense-backup "$backup")" \
    -e "s|^\( *- revision=\).*|\1${commit:0:12}|" "$common"
for written in "newName: ${image%@*}" "digest: ${image#*@}" "newName: ${backup%@*}" "digest: ${backup#*@}" "revision=${commit:0:12}"; do
    grep -qF "$written" "$common" || fail "$common has no place for $written"
done

if [[ "$place" == production* && -z "${ROLLBACK:-}" ]]; then
    there=$(kubectl --namespace tradesense get clusters.postgresql.cnpg.io tradesense-db --ignore-not-found --output name)
    [[ -n "$there" ]] || say "the first time: there is nothing to come back to"
fi
if [[ -n "${there:-}" ]]; then
    # A second try is another point: what was written since the first is in it.
    point="before-${commit:0:12}-$(date -u +%m%d%H%M%S)"
    say "taking a backup, $point"
    kubectl apply --server-side --field-manager=release --filename - <<YAML
apiVersion: postgresql.cnpg.io/v1
kind: Backup
metadata: {name: $point, namespace: tradesense}
spec:
  cluster: {name: tradesense-db}
  method: plugin
  pluginConfiguration: {name: barman-cloud.cloudnative-pg.io}
YAML
    kubectl --namespace tradesense wait "backup/$point" --for='jsonpath={.status.phase}=completed' --timeout=60m ||
        fail "no point to come back to; nothing was changed"
fi

"$tree/apply" "$place"

of() { kubectl --namespace tradesense get "rollout/$1" --output "jsonpath={$2}"; }

# arrived ROLLOUT: waits until the new ones stand beside the old ones, or serve.
arrived() {
    local rollout=$1 state again=''
    for ((waited = 0; waited < ${DEPLOY_SECONDS:-1200}; waited += ${DEPLOY_STEP:-5})); do
        state=$(of "$rollout" '.status.phase}/{.status.abort}/{.status.stableRS}/{.status.currentPodHash') || state=
        IFS=/ read -r phase aborted stable current <<<"$state"
        case "$phase" in
            Paused) [[ "$place" != production* ]] || return 0 ;;
            # The first of all, and what was there before, is served by whoever is asked for.
            Healthy) [[ "$stable" != "$current" ]] || return 0 ;;
            Degraded)
                [[ "$aborted" == true && -z "$again" ]] || return 1
                say "$rollout was broken off; once more"
                kubectl --namespace tradesense patch "rollout/$rollout" --subresource=status --type=merge --patch '{"status":{"abort":false}}'
                again=yes
                ;;
        esac
        sleep "${DEPLOY_STEP:-5}"
    done
    return 1
}

for rollout in tradesense-api tradesense-analytics; do
    # What stands in the status until the controller has seen the change is about the release before.
    generation=$(of "$rollout" .metadata.generation)
    [[ "$generation" =~ ^[0-9]+$ ]] || fail "$rollout has no generation"
    kubectl --namespace tradesense wait "rollout/$rollout" --for="jsonpath={.status.observedGeneration}=$generation" --timeout=5m ||
        fail "nobody takes up the change of $rollout; the old processes still serve"
    arrived "$rollout" || fail "$rollout did not arrive ($(of "$rollout" .status.phase)); the old processes serve"
done
for workload in deployment/tradesense-worker statefulset/tradesense-engine; do
    kubectl --namespace tradesense rollout status "$workload" --timeout=20m || fail "$workload is not up"
done
say "$place runs ${commit:0:12}"
