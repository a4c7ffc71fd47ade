//! The tiers of the workspace: every crate names only what it may name. The two tables below are the rule;
//! a new crate or a new edge is added here, on purpose, or the test names it.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Every crate with the crates of ours that it may name, lowest tier first.
const MAY_NAME: &[(&str, &[&str])] = &[
    // T0
    ("kernel", &[]),
    // T1: pure, they do not know each other, except that the engine evaluates rules
    ("rules", &["kernel"]),
    ("engine", &["kernel", "rules"]),
    ("ledger", &["kernel"]),
    ("audit", &["kernel"]),
    ("domain", &["kernel"]),
    // T2
    ("app", &["kernel", "rules", "engine", "ledger", "audit", "domain"]),
    // T3: adapters do not know each other, except telemetry
    ("telemetry", &["kernel"]),
    ("embedded", &[]),
    ("store", &["kernel", "rules", "engine", "ledger", "audit", "domain", "app", "telemetry"]),
    ("streams", &["kernel", "rules", "engine", "ledger", "audit", "domain", "app", "telemetry"]),
    ("providers", &["kernel", "rules", "engine", "ledger", "audit", "domain", "app", "telemetry"]),
    // What servers share
    ("serve", &["kernel", "engine", "app", "telemetry"]),
    // T4: no adapter except telemetry and the read models of the store
    (
        "web",
        &["kernel", "rules", "engine", "ledger", "audit", "domain", "app", "telemetry", "store", "serve"],
    ),
    (
        "analytics",
        &["kernel", "rules", "engine", "ledger", "audit", "domain", "app", "telemetry", "store", "serve"],
    ),
    ("workers", &["kernel", "rules", "engine", "ledger", "audit", "domain", "app", "telemetry", "store"]),
    // T5: only the binary wires
    ("tradesense", ANY),
    // Development: named by nobody's product code
    ("testkit", ANY),
    ("xtask", &["embedded"]),
];

/// May name every crate of ours but the development ones.
const ANY: &[&str] = &["*"];

/// Crates that only tests may name.
const ONLY_FOR_TESTS: &[&str] = &["testkit", "xtask"];

/// Crates without input, output, clock, randomness or threads of their own.
const PURE: &[&str] = &["kernel", "rules", "engine", "ledger", "audit", "domain"];

/// Outside crates that pure ones may not name, nor may the use cases in `app`.
const OUTSIDE: &[&str] = &[
    "axum",
    "clap",
    "futures",
    "getrandom",
    "http",
    "hyper",
    "hyper-util",
    "lettre",
    "mio",
    "rand",
    "redis",
    "reqwest",
    "rustix",
    "rustls",
    "sqlx",
    "tempfile",
    "tokio",
    "tokio-stream",
    "tower",
    "tower-http",
    "tracing-subscriber",
    "utoipa-axum",
];

/// What the use cases may name of [`OUTSIDE`]: channels and tasks, without which no port is asynchronous.
const OUTSIDE_FOR_APP: &[&str] = &["tokio", "tokio-stream"];

#[test]
fn imports_point_down() {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let meta: Value = serde_json::from_slice(&out.stdout).unwrap();
    let packages = meta["packages"].as_array().unwrap();
    assert!(packages.len() > 3, "the workspace was not read");
    let broken: Vec<String> = packages.iter().flat_map(broken_imports).collect();
    assert!(broken.is_empty(), "imports against the rules:\n{}", broken.join("\n"));
}

fn broken_imports(package: &Value) -> Vec<String> {
    let table: BTreeMap<&str, &[&str]> = MAY_NAME.iter().copied().collect();
    let name = package["name"].as_str().unwrap();
    let Some(allowed) = table.get(name) else {
        return vec![format!("{name} is in no tier: add it to MAY_NAME")];
    };
    let mut broken = Vec::new();
    for dependency in package["dependencies"].as_array().unwrap() {
        let named = dependency["name"].as_str().unwrap();
        let for_tests = dependency["kind"] == "dev";
        let ours = dependency["path"].is_string();
        if ours && !for_tests {
            let allowed = *allowed == ANY || allowed.contains(&named);
            if !allowed || ONLY_FOR_TESTS.contains(&named) {
                broken.push(format!("{name} -> {named}"));
            }
        }
        let outside = OUTSIDE.contains(&named) && !for_tests;
        let forbidden = if name == "app" { !OUTSIDE_FOR_APP.contains(&named) } else { PURE.contains(&name) };
        if outside && forbidden {
            broken.push(format!("{name} -> {named} (a pure crate may not)"));
        }
    }
    broken
}

#[test]
fn a_forbidden_edge_is_named() {
    let package =
        |name: &str, dependency: Value| serde_json::json!({"name": name, "dependencies": [dependency]});
    let ours = |name: &str| serde_json::json!({"name": name, "path": "/somewhere", "kind": null});
    let outside = |name: &str, kind: Value| serde_json::json!({"name": name, "kind": kind});
    assert_eq!(broken_imports(&package("rules", ours("engine"))), ["rules -> engine"]);
    assert_eq!(broken_imports(&package("store", ours("providers"))), ["store -> providers"]);
    assert_eq!(broken_imports(&package("tradesense", ours("testkit"))), ["tradesense -> testkit"]);
    assert_eq!(
        broken_imports(&package("newcomer", ours("kernel"))),
        ["newcomer is in no tier: add it to MAY_NAME"]
    );
    assert_eq!(
        broken_imports(&package("engine", outside("tokio", Value::Null))),
        ["engine -> tokio (a pure crate may not)"]
    );
    assert!(broken_imports(&package("engine", outside("tokio", "dev".into()))).is_empty());
    assert!(broken_imports(&package("engine", ours("rules"))).is_empty());
    assert!(broken_imports(&package("tradesense", ours("embedded"))).is_empty());
}
