//! Whether the checks of manifests notice anything: each of some hundred ways in which a place can be made worse is tried, one at a time, and
//! one of them has to find it.

use serde_json::{Value, json};

use super::manifests::{Overlay, change, instead, note, overlays};
use super::{Finding, Found, nothing};
use super::{autoscaling, kubernetes, observed};

/// Those that look at manifests alone.
const CHECKS: [fn() -> Found; 20] = [
    autoscaling::loads_are_followed,
    kubernetes::versions_are_served,
    kubernetes::custom_schemas,
    kubernetes::names,
    kubernetes::pods_are_restricted,
    kubernetes::probes_and_stopping,
    kubernetes::disruptions_and_zones,
    kubernetes::spot,
    kubernetes::requests_and_limits,
    kubernetes::images,
    kubernetes::references,
    kubernetes::commands,
    kubernetes::connections,
    kubernetes::database,
    kubernetes::backups,
    kubernetes::manifests_of_migration,
    kubernetes::blue_and_green,
    kubernetes::edge,
    kubernetes::secrets_and_regions,
    observed::by_what_is_tested,
];

/// Paths in every pod template of ours whose absence makes it worse. With `*`: of roles alone.
const IN_PODS: [&str; 21] = [
    "spec.securityContext.runAsNonRoot",
    "spec.securityContext.seccompProfile",
    "spec.automountServiceAccountToken",
    "spec.enableServiceLinks",
    "spec.containers.0.securityContext.allowPrivilegeEscalation",
    "spec.containers.0.securityContext.readOnlyRootFilesystem",
    "spec.containers.0.securityContext.capabilities",
    "spec.containers.0.resources.requests.cpu",
    "spec.containers.0.resources.requests.memory",
    "spec.containers.0.resources.limits.memory",
    "spec.serviceAccountName",
    "*spec.containers.0.resources.limits.ephemeral-storage",
    "*spec.containers.0.startupProbe",
    "*spec.containers.0.readinessProbe",
    "*spec.containers.0.livenessProbe",
    "*spec.containers.0.lifecycle",
    "*spec.terminationGracePeriodSeconds",
    "*spec.topologySpreadConstraints.0",
    "*spec.topologySpreadConstraints.1",
    "*spec.priorityClassName",
    "*spec.volumes.1",
];

/// What is put at a path of every template.
fn put_in_pods() -> Vec<(&'static str, Value)> {
    vec![
        ("spec.containers.0.image", json!("ghcr.io/tradesense/tradesense:latest")),
        ("spec.containers.0.image", json!(format!("example.org/x@sha256:{}", "ab".repeat(32)))),
        ("spec.containers.0.resources.requests.memory", json!("1Mi")),
        ("spec.serviceAccountName", json!("nobody")),
        ("*spec.containers.0.readinessProbe.httpGet.path", json!("/health/live")),
        ("*spec.containers.0.livenessProbe.httpGet.path", json!("/health/ready")),
        ("*spec.containers.0.lifecycle.preStop.sleep.seconds", json!(1)),
        ("*spec.terminationGracePeriodSeconds", json!(20)),
        ("*spec.priorityClassName", json!("urgent")),
        ("*spec.topologySpreadConstraints.0.matchLabelKeys", json!(["no-such-hash"])),
        ("*spec.topologySpreadConstraints.0.labelSelector", json!({"matchLabels": {"app": "other"}})),
        ("*spec.containers.0.args.0", json!("serve")),
        ("*spec.containers.0.args.1", json!("--connection")),
        ("*spec.containers.0.env.9.value", json!("/run/secrets/tradesense/elsewhere")),
    ]
}

/// Changes of single manifests: kind, name, path, what is put there (nothing: it is taken away).
fn of_manifests() -> Vec<(&'static str, &'static str, &'static str, Option<Value>)> {
    let client = "ClientTrafficPolicy";
    let backend = "BackendTrafficPolicy";
    vec![
        ("Namespace", "tradesense", "metadata.labels", None),
        ("PriorityClass", "tradesense-worker", "value", Some(json!(750_000))),
        ("ResourceQuota", "tradesense", "spec.hard.pods", Some(json!("50"))),
        ("ServiceAccount", "tradesense-api", "metadata.namespace", None),
        ("GatewayClass", "tradesense", "metadata.namespace", Some(json!("tradesense"))),
        ("ValidatingAdmissionPolicy", "tradesense-images", "spec.validations.1", None),
        ("NodePool", "tradesense-spot", "spec.template.spec.taints", None),
        (
            "Deployment",
            "tradesense-worker",
            "spec.template.spec.tolerations",
            Some(json!([{"operator": "Exists"}])),
        ),
        (
            "StatefulSet",
            "tradesense-engine",
            "spec.template.spec.tolerations",
            Some(json!([{"key": "tradesense.example/spot", "operator": "Exists"}])),
        ),
        ("Rollout", "tradesense-analytics", "spec.template.spec.topologySpreadConstraints.2", None),
        ("Service", "tradesense-api", "spec.ports.0.targetPort", Some(json!("web"))),
        ("Service", "tradesense-api", "spec.selector", Some(json!({"app": "api"}))),
        ("Service", "tradesense-api", "spec.type", Some(json!("LoadBalancer"))),
        ("PodDisruptionBudget", "tradesense-api", "spec.maxUnavailable", Some(json!(0))),
        (
            "PodDisruptionBudget",
            "tradesense-api",
            "spec.selector",
            Some(json!({"matchLabels": {"app": "x"}})),
        ),
        ("PodDisruptionBudget", "tradesense-worker", "spec.unhealthyPodEvictionPolicy", None),
        ("PodDisruptionBudget", "tradesense-engine", "spec.selector", Some(json!({}))),
        ("StatefulSet", "tradesense-engine", "spec.replicas", Some(json!(1))),
        ("StatefulSet", "tradesense-engine", "spec.volumeClaimTemplates", Some(json!([]))),
        ("Deployment", "tradesense-worker", "spec.strategy.rollingUpdate.maxSurge", Some(json!("100%"))),
        ("Deployment", "tradesense-worker", "spec.replicas", Some(json!(2))),
        ("Rollout", "tradesense-api", "spec.strategy.blueGreen.prePromotionAnalysis", None),
        ("Rollout", "tradesense-api", "spec.strategy.blueGreen.postPromotionAnalysis", None),
        ("Rollout", "tradesense-api", "spec.strategy.blueGreen.scaleDownDelaySeconds", Some(json!(30))),
        ("Rollout", "tradesense-api", "spec.strategy.blueGreen.autoPromotionEnabled", Some(json!(true))),
        ("Rollout", "tradesense-api", "spec.strategy.blueGreen.previewService", Some(json!("elsewhere"))),
        ("Rollout", "tradesense-api", "spec.strategy.blueGreen.prePromotionAnalysis.args.0", None),
        ("Rollout", "tradesense-api", "spec.template.spec.containers.0.args.2", Some(json!("30"))),
        ("AnalysisTemplate", "tradesense-smoke", "spec.args.0", None),
        ("ScaledObject", "tradesense-api", "spec.maxReplicaCount", Some(json!(30))),
        ("ScaledObject", "tradesense-api", "spec.scaleTargetRef.kind", Some(json!("Deployment"))),
        ("ScaledObject", "tradesense-worker", "spec.scaleTargetRef.name", Some(json!("tradesense-api"))),
        (
            "ScaledObject",
            "tradesense-worker",
            "spec.advanced.horizontalPodAutoscalerConfig.behaviour",
            Some(json!({})),
        ),
        ("HorizontalPodAutoscaler", "tradesense-analytics", "spec.minReplicas", Some(json!(1))),
        ("Job", "tradesense-migrate-unreleased", "metadata.name", Some(json!("tradesense-migrate"))),
        ("Job", "tradesense-migrate-unreleased", "spec.activeDeadlineSeconds", None),
        (
            "ExternalSecret",
            "tradesense-migrate",
            "spec.target.template.data.database-url",
            Some(json!("postgres://tradesense_owner:{{ .owner }}@tradesense-db-observers.x/y")),
        ),
        ("ExternalSecret", "tradesense-api", "spec.refreshInterval", Some(json!("15s"))),
        ("ExternalSecret", "tradesense-api", "spec.target.deletionPolicy", Some(json!("Delete"))),
        ("ExternalSecret", "tradesense-api", "apiVersion", Some(json!("external-secrets.io/v1beta1"))),
        ("ExternalSecret", "tradesense-api", "spec.secretStoreRef.name", Some(json!("other"))),
        ("ExternalSecret", "tradesense-api", "spec.data.0", None),
        ("ExternalSecret", "tradesense-api", "spec.target.template.data.cache-url", None),
        ("ExternalSecret", "tradesense-api", "spec.target.name", Some(json!("other"))),
        ("ExternalSecret", "tradesense-api", "sepc", Some(json!({}))),
        ("SecretStore", "tradesense", "spec.provider.aws.region", Some(json!("us-east-1"))),
        (
            "SecretStore",
            "tradesense",
            "spec.provider.aws.auth.jwt.serviceAccountRef.name",
            Some(json!("nobody")),
        ),
        (
            "ObjectStore",
            "tradesense-db",
            "spec.configuration.destinationPath",
            Some(json!("s3://tradesense-backups-us/")),
        ),
        ("ObjectStore", "tradesense-db", "spec.retentionPolicy", Some(json!("7d"))),
        (
            "ObjectStore",
            "tradesense-db",
            "spec.configuration.s3Credentials.accessKeyId.key",
            Some(json!("id")),
        ),
        ("ScheduledBackup", "tradesense-db-daily", "spec.schedule", Some(json!("15 2 * * *"))),
        ("ScheduledBackup", "tradesense-db-daily", "spec.cluster.name", Some(json!("other"))),
        ("Pooler", "tradesense-db-observers", "spec.cluster.name", Some(json!("other"))),
        (
            "Pooler",
            "tradesense-db-observers",
            "spec.pgbouncer.parameters.max_db_connections",
            Some(json!("100")),
        ),
        ("Cluster", "tradesense-db", "spec.instances", Some(json!(2))),
        ("Cluster", "tradesense-db", "spec.imageName", Some(json!("ghcr.io/cloudnative-pg/postgresql:18"))),
        ("Cluster", "tradesense-db", "spec.postgresql.synchronous", None),
        ("Cluster", "tradesense-db", "spec.postgresql.synchronous.failoverQuorum", None),
        ("Cluster", "tradesense-db", "spec.postgresql.synchronous.dataDurability", Some(json!("preferred"))),
        ("Cluster", "tradesense-db", "spec.postgresql.parameters.createrole_self_grant", None),
        ("Cluster", "tradesense-db", "spec.postgresql.parameters.archive_timeout", None),
        ("Cluster", "tradesense-db", "spec.postgresql.parameters.max_connections", Some(json!("500"))),
        (
            "Cluster",
            "tradesense-db",
            "spec.postgresql.parameters.max_slot_wal_keep_size",
            Some(json!("200GB")),
        ),
        ("Cluster", "tradesense-db", "spec.postgresql.parameters.shared_buffers", Some(json!("30GB"))),
        ("Cluster", "tradesense-db", "spec.bootstrap.initdb.dataChecksums", None),
        ("Cluster", "tradesense-db", "spec.enableSuperuserAccess", Some(json!(true))),
        ("Cluster", "tradesense-db", "spec.affinity.topologyKey", Some(json!("kubernetes.io/hostname"))),
        ("Cluster", "tradesense-db", "spec.affinity.podAntiAffinityType", Some(json!("preferred"))),
        ("Cluster", "tradesense-db", "spec.plugins", Some(json!([]))),
        ("Cluster", "tradesense-db", "spec.managed.roles.1.passwordSecret.name", Some(json!("other"))),
        ("CronJob", "tradesense-keys-backup", "spec.concurrencyPolicy", Some(json!("Allow"))),
        ("CronJob", "tradesense-keys-backup", "spec.suspend", Some(json!(true))),
        ("CronJob", "tradesense-keys-backup", "spec.jobTemplate.spec.activeDeadlineSeconds", None),
        (
            "CronJob",
            "tradesense-keys-backup",
            "spec.jobTemplate.spec.template.spec.containers.0.volumeMounts.0.readOnly",
            None,
        ),
        (
            "CronJob",
            "tradesense-keys-backup",
            "spec.jobTemplate.spec.template.spec.containers.0.command.0",
            Some(json!("/usr/local/lib/tradesense-backup/lib.sh")),
        ),
        ("CronJob", "tradesense-restore-drill", "spec.schedule", Some(json!("0 45 4 * * 0"))),
        (
            "CronJob",
            "tradesense-restore-drill",
            "spec.jobTemplate.spec.template.spec.volumes.1.secret.secretName",
            Some(json!("tradesense-db-backups")),
        ),
        ("Cluster", "tradesense-db", "spec.managed.roles.2", None),
        ("Cluster", "tradesense-db", "spec.managed.roles.2.inRoles", Some(json!(["tradesense_app"]))),
        ("Cluster", "tradesense-db", "spec.managed.roles.1.inherit", Some(json!(true))),
        ("Cluster", "tradesense-db", "spec.managed.roles.1.connectionLimit", Some(json!(100))),
        (
            "Cluster",
            "tradesense-db",
            "spec.managed.roles.2.passwordSecret.name",
            Some(json!("tradesense-db-platform-a")),
        ),
        (
            "ExternalSecret",
            "tradesense-engine",
            "spec.target.template.data.database-url",
            Some(json!("postgres://tradesense_platform_a:{{ .platform_a }}@tradesense-db-rw.x/y")),
        ),
        ("Cluster", "tradesense-db", "spec.resources.limits.memory", Some(json!("64Gi"))),
        ("Cluster", "tradesense-db", "spec.postgresql.pg_hba", Some(json!([]))),
        ("Cluster", "tradesense-db", "spec.certificates.serverCASecret", Some(json!("other"))),
        ("Certificate", "tradesense-db-server", "spec.dnsNames.3", None),
        ("Certificate", "tradesense-db-server", "spec.secretTemplate.labels", Some(json!({}))),
        ("Certificate", "tradesense-db-server", "spec.issuerRef.name", Some(json!("other"))),
        (
            "ExternalSecret",
            "tradesense-analytics",
            "spec.target.template.data.replica-urls",
            Some(json!(
                "postgres://tradesense_platform_{{ .login }}:{{ ternary .platform_b .platform_a (eq .login \"b\") | urlquery }}\
                 @tradesense-db-ro.tradesense.svc.cluster.local:5432/tradesense?sslmode=require"
            )),
        ),
        (
            "Deployment",
            "tradesense-worker",
            "spec.template.spec.containers.0.volumeMounts.3.mountPath",
            Some(json!("/x")),
        ),
        ("Certificate", "tradesense-public", "spec.issuerRef.name", Some(json!("other"))),
        ("Certificate", "tradesense-public", "spec.secretName", Some(json!("other"))),
        ("Gateway", "public", "spec.listeners.1.tls.certificateRefs", Some(json!([]))),
        ("Gateway", "public", "spec.listeners.1.hostname", Some(json!("public.tradesense.invalid"))),
        ("Gateway", "public", "spec.gatewayClassName", Some(json!("nginx"))),
        ("HTTPRoute", "public", "spec.rules.0.filters", Some(json!([]))),
        ("HTTPRoute", "public", "spec.rules.2.backendRefs.0.port", Some(json!(8_009))),
        ("HTTPRoute", "public", "spec.parentRefs.0.sectionName", Some(json!("http"))),
        ("HTTPRoute", "public", "spec.rules.3.filters.1", None),
        ("HTTPRoute", "public", "spec.rules.3.matches.0", None),
        ("HTTPRoute", "operators", "spec.rules.0.matches.2.path.value", Some(json!("/v1/persons"))),
        ("SecurityPolicy", "operators", "spec.authorization.defaultAction", Some(json!("Allow"))),
        ("HTTPRoute", "public-to-https", "spec.rules.0.filters", Some(json!([]))),
        ("HTTPRoute", "webhooks-mail", "spec.rules.0.matches.0.method", None),
        ("HTTPRoute", "webhooks-mail", "spec.rules.0.matches.0.path.value", Some(json!("/"))),
        ("HTTPRoute", "webhooks-paypal", "metadata.annotations", None),
        ("SecurityPolicy", "webhooks-mail", "spec.authorization.defaultAction", Some(json!("Allow"))),
        ("SecurityPolicy", "webhooks-mail", "spec.targetRefs.0.name", Some(json!("other"))),
        (client, "public", "spec.proxyProtocol", None),
        (client, "public", "spec.proxyProtocol.optional", Some(json!(true))),
        (client, "public", "spec.headers.earlyRequestHeaders.remove", Some(json!(["X-Real-Ip"]))),
        (client, "webhooks", "spec.timeout.http.requestReceivedTimeout", None),
        (client, "webhooks", "spec.targetRefs.0.name", Some(json!("other"))),
        (backend, "public", "spec.rateLimit.global.rules", Some(json!([]))),
        (backend, "webhooks", "spec.rateLimit", None),
        (backend, "webhooks", "spec.requestBuffer", None),
        (backend, "webhooks", "spec.requestBuffer.limit", Some(json!("8Mi"))),
        (backend, "public", "spec.retry.numRetry", Some(json!(3))),
        (
            "EnvoyProxy",
            "tradesense",
            "spec.provider.kubernetes.envoyService.externalTrafficPolicy",
            Some(json!("Cluster")),
        ),
        ("PodMonitor", "tradesense", "spec.podMetricsEndpoints.0.port", Some(json!("metrics"))),
        ("PodMonitor", "valkey", "spec.podMetricsEndpoints.0.port", Some(json!("ops"))),
        ("PodMonitor", "valkey", "spec.podMetricsEndpoints.0.relabelings", None),
        ("PodMonitor", "vector", "metadata.namespace", Some(json!("tradesense"))),
        (
            "PodMonitor",
            "cert-manager",
            "spec.podMetricsEndpoints.0.relabelings.0.replacement",
            Some(json!("other")),
        ),
        ("ServiceMonitor", "kubelet", "spec.endpoints.1.relabelings", None),
        ("ServiceMonitor", "kubelet", "spec.endpoints.0.prot", Some(json!("http"))),
        ("PrometheusRule", "tradesense-alerts", "spec.groups.0.rules.0", None),
        ("PrometheusRule", "tradesense-alerts", "metadata.labels", None),
        ("PrometheusRule", "tradesense-exporters", "metadata.namespace", Some(json!("elsewhere"))),
        ("ConfigMap", "tradesense-dashboard-api", "metadata.labels", None),
        ("ConfigMap", "tradesense-dashboard-api", "metadata.annotations", None),
        ("ExternalSecret", "tradesense-alertmanager", "spec.target.name", Some(json!("other"))),
        ("ExternalSecret", "tradesense-alertmanager", "spec.target.template.data.alerts_key", None),
        ("ExternalSecret", "vector", "spec.secretStoreRef.name", Some(json!("tradesense"))),
        ("ExternalSecret", "vector", "spec.data.1", None),
        ("SecretStore", "tradesense-logging", "metadata.namespace", Some(json!("tradesense"))),
        ("Namespace", "logging", "metadata.labels", None),
        ("ClusterRole", "tradesense-vector", "rules.0.verbs.1", Some(json!("delete"))),
        ("ClusterRole", "tradesense-vector", "rules.0.resources.0", Some(json!("secrets"))),
        ("ClusterRoleBinding", "tradesense-vector", "subjects.0.name", Some(json!("tradesense-api"))),
        ("Deployment", "tradesense-worker", "metadata.namespace", Some(json!("logging"))),
        ("DaemonSet", "vector", "metadata.namespace", Some(json!("tradesense"))),
        ("ClusterRoleBinding", "tradesense-vector", "subjects.0.namespace", Some(json!("default"))),
        (
            "ValidatingAdmissionPolicyBinding",
            "tradesense-images-logging",
            "spec.validationActions",
            Some(json!(["Audit"])),
        ),
        ("DaemonSet", "vector", "spec.template.spec.tolerations", None),
        ("DaemonSet", "vector", "spec.template.spec.volumes.2.hostPath.path", Some(json!("/"))),
        ("DaemonSet", "vector", "spec.template.spec.containers.0.volumeMounts.2.readOnly", None),
        ("DaemonSet", "vector", "spec.template.spec.containers.0.args.3", None),
        ("DaemonSet", "vector", "spec.template.spec.containers.0.env.0", None),
        ("DaemonSet", "vector", "spec.template.spec.containers.0.env.1", None),
        (
            "StatefulSet",
            "valkey-queue",
            "spec.template.spec.containers.1.image",
            Some(json!("docker.io/oliver006/redis_exporter:v1")),
        ),
        (
            "StatefulSet",
            "valkey-queue",
            "spec.template.spec.containers.1.env.2.value",
            Some(json!("/run/secrets/exporter/other")),
        ),
        ("StatefulSet", "valkey-cache", "spec.template.spec.containers.1.securityContext", None),
    ]
}

/// Every place that is worse by one change, with the name of the change; none where nothing is there to be changed.
fn worse(overlay: &Overlay) -> Vec<(String, Option<Overlay>)> {
    let mut all = Vec::new();
    let mut with = |name: String, object: usize, path: &str, new: Option<Value>| {
        let mut changed = overlay.clone();
        let done = changed.objects.get_mut(object).is_some_and(|object| {
            // What is put may be new there.
            change(&mut object.value, path, new.clone()) || new.is_some()
        });
        all.push((name, done.then_some(changed)));
    };
    for (place, object) in overlay.objects.iter().enumerate() {
        let (kind, name) = (object.kind(), object.name());
        if !matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet" | "Rollout" | "Job" | "CronJob") {
            continue;
        }
        let template = if kind == "CronJob" { "spec.jobTemplate.spec.template" } else { "spec.template" };
        let is_role = !matches!(kind, "Job" | "CronJob") && name.starts_with("tradesense");
        let applies = |path: &'static str| match path.strip_prefix('*') {
            Some(path) => is_role.then_some(path),
            None => Some(path),
        };
        for path in IN_PODS.into_iter().filter_map(applies) {
            let path = format!("{template}.{path}");
            with(format!("{kind}/{name} without {path}"), place, &path, None);
        }
        for (path, new) in put_in_pods() {
            let Some(path) = applies(path) else { continue };
            let path = format!("{template}.{path}");
            with(format!("{kind}/{name} with {path} {new}"), place, &path, Some(new));
        }
    }
    for (kind, name, path, new) in of_manifests() {
        let place = overlay.objects.iter().position(|object| object.kind() == kind && object.name() == name);
        let place = place.unwrap_or(usize::MAX);
        let said = new.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        with(format!("{kind}/{name} with {path} {said}"), place, path, new);
    }
    // Whole manifests: each of them is there for something.
    for (place, object) in overlay.objects.iter().enumerate() {
        if matches!(object.kind(), "NetworkPolicy" | "LimitRange") {
            continue; // Others look after these, or nobody can without a cluster.
        }
        let mut changed = overlay.clone();
        drop(changed.objects.remove(place));
        all.push((format!("no {}/{}", object.kind(), object.name()), Some(changed)));
    }
    all
}

/// Everything that the checks find at a place.
fn found(overlay: Overlay) -> Vec<String> {
    instead(overlay, || {
        let found = CHECKS.iter().filter_map(|check| check().err()).flatten();
        // What is served for nobody is about all places together.
        found.map(|finding| finding.to_string()).filter(|said| !said.contains("served for nobody")).collect()
    })
}

pub(super) fn are_noticed() -> Found {
    let Some(overlay) = overlays()?.iter().find(|overlay| overlay.name == "production-eu") else {
        return Err(vec![Finding::new("production-eu", "is not there")]);
    };
    let mut findings = Vec::new();
    let before = found(overlay.clone());
    let places = worse(overlay);
    let (all, mut noticed) = (places.len(), 0_usize);
    for (name, changed) in places {
        let Some(changed) = changed else {
            findings.push(Finding::new(name, "nothing is there to be changed"));
            continue;
        };
        if found(changed).iter().all(|said| before.contains(said)) {
            findings.push(Finding::new(name, "no check finds this"));
        } else {
            noticed = noticed.saturating_add(1);
        }
    }
    note(&format!("{noticed} of {all} changes noticed"));
    nothing(findings)
}

#[cfg(test)]
mod tests {
    use super::super::manifests::at;
    use super::*;

    #[test]
    fn a_change_is_one_step() {
        let mut value = json!({"a": [{"b": 1}, {"b": 2}]});
        assert!(change(&mut value, "a.1.b", Some(json!(3))));
        assert_eq!(at(&value, "a.1.b"), Some(&json!(3)));
        assert!(change(&mut value, "a.0", None));
        assert_eq!(value, json!({"a": [{"b": 3}]}));
        assert!(!change(&mut value, "c.d", None));
    }
}
