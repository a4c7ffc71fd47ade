#!/usr/bin/env bash
# Brings a place to an image: verified first, a point to come back to (production), the schema, then the processes beside the old ones.
#
#   deploy.sh PLACE NAME@DIGEST BACKUP-NAME@DIGEST REVISION
#
# Nobody is sent to the new ones of production before finish.sh; staging switches by itself after its smoke.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

place=${1:?usage: deploy.sh PLACE IMAGE BACKUP REVISION}
image=${2:?usage: deploy.sh PLACE IMAGE BACKUP REVISION}
backup=${3:?usage: deploy.sh PLACE IMAGE BACKUP REVISION}
commit=${4:?usage: deploy.sh PLACE IMAGE BACKUP REVISION}
overlay "$place"
by_digest "$image"
by_digest "$backup"
revision "$commit"
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

if [[ "$place" == production* ]]; then
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

phase=Healthy
[[ "$place" == production* ]] && phase=Paused
for rollout in tradesense-api tradesense-analytics; do
    # What stands in the status until the controller has seen the change is about the release before.
    generation=$(kubectl --namespace tradesense get "rollout/$rollout" --output 'jsonpath={.metadata.generation}')
    [[ "$generation" =~ ^[0-9]+$ ]] || fail "$rollout has no generation"
    kubectl --namespace tradesense wait "rollout/$rollout" --for="jsonpath={.status.observedGeneration}=$generation" --timeout=5m ||
        fail "nobody takes up the change of $rollout; the old processes still serve"
    kubectl --namespace tradesense wait "rollout/$rollout" --for="jsonpath={.status.phase}=$phase" --timeout=20m ||
        fail "$rollout did not become $phase; the old processes still serve"
done
for workload in deployment/tradesense-worker statefulset/tradesense-engine; do
    kubectl --namespace tradesense rollout status "$workload" --timeout=20m || fail "$workload is not up"
done
say "$place runs ${commit:0:12}"
