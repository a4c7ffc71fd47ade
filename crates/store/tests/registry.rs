//! What the registry of data says of every column, against a migrated database.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use app::upkeep::Upkeep;
use kernel::Timestamp;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use testkit::World;

const REGISTRY: &str = include_str!("../../../docs/compliance/data.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registry {
    retention: BTreeMap<String, Retention>,
    table: Vec<Table>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retention {
    days: Option<i64>,
    from: Option<String>,
    job: Option<String>,
    says: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    purpose: String,
    retention: String,
    person: String,
    erasure: String,
    export: bool,
    #[serde(default)]
    personal: Vec<String>,
    #[serde(default)]
    secret: Vec<String>,
    #[serde(default)]
    pseudonymous: Vec<String>,
    #[serde(default)]
    financial: Vec<String>,
    #[serde(default)]
    operational: Vec<String>,
    #[serde(default)]
    emptied: Vec<String>,
    #[serde(default)]
    sealed: Vec<String>,
}

impl Table {
    fn columns(&self) -> impl Iterator<Item = &String> {
        let classes = [&self.personal, &self.secret, &self.pseudonymous, &self.financial, &self.operational];
        classes.into_iter().flatten()
    }
}

fn registry() -> Registry {
    toml::from_str(REGISTRY).unwrap()
}

async fn schema(connection: &mut PgConnection) -> BTreeSet<String> {
    let columns: Vec<String> = sqlx::query_scalar(
        "select c.relname::text || '.' || a.attname::text
         from pg_class c join pg_attribute a on a.attrelid = c.oid
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
           and a.attnum > 0 and not a.attisdropped and c.relname <> '_sqlx_migrations'",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    columns.into_iter().collect()
}

/// What is in only one of the two, and what is classified twice.
fn differences(registry: &Registry, schema: &BTreeSet<String>) -> Vec<String> {
    let mut said = BTreeSet::new();
    let mut wrong = Vec::new();
    for table in &registry.table {
        for column in table.columns() {
            let name = format!("{}.{column}", table.name);
            if !schema.contains(&name) {
                wrong.push(format!("{name} is classified, and there is no such column"));
            }
            if !said.insert(name.clone()) {
                wrong.push(format!("{name} is classified twice"));
            }
        }
    }
    wrong.extend(schema.difference(&said).map(|name| format!("{name} is not classified")));
    wrong
}

#[tokio::test]
async fn every_column_is_classified() {
    let world = World::new().await;
    let mut owner = world.database.superuser().await;
    assert_eq!(differences(&registry(), &schema(&mut owner).await), Vec::<String>::new());
}

#[tokio::test]
async fn a_column_that_nobody_classified_and_a_line_without_its_column_are_named() {
    let world = World::new().await;
    let mut owner = world.database.superuser().await;
    for sql in [
        "alter table people add column phone text",
        "create table passports (firm_id uuid, number text)",
        "alter table sessions rename column expires_at to ends",
    ] {
        owner.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    let mut found = differences(&registry(), &schema(&mut owner).await);
    found.sort();
    assert_eq!(
        found,
        [
            "passports.firm_id is not classified",
            "passports.number is not classified",
            "people.phone is not classified",
            "sessions.ends is not classified",
            "sessions.expires_at is classified, and there is no such column",
        ]
    );
    let twice = REGISTRY.replace("operational = [\"roles\",", "operational = [\"email\", \"roles\",");
    assert_ne!(twice, REGISTRY);
    let twice: Registry = toml::from_str(&twice).unwrap();
    assert!(
        differences(&twice, &schema(&mut owner).await)
            .contains(&"people.email is classified twice".to_owned())
    );
}

#[test]
fn what_is_personal_goes_with_an_erasure_and_is_in_the_export() {
    let registry = registry();
    for table in &registry.table {
        let Table { name, person, erasure, .. } = table;
        assert!(!table.purpose.is_empty(), "{name} has no purpose");
        assert!(registry.retention.contains_key(&table.retention), "{name}: {}", table.retention);
        assert!(
            ["self", "person", "account", "actor", "address", "none"].contains(&person.as_str()),
            "{name}"
        );
        assert!(["removed", "emptied", "kept"].contains(&erasure.as_str()), "{name}");
        assert_eq!(erasure == "emptied", !table.emptied.is_empty(), "{name}");
        for column in &table.personal {
            let unread = table.emptied.contains(column) || table.sealed.contains(column);
            // Where somebody's rows lie is no more than that, and says of an erased person that there was one.
            let goes = erasure == "removed" || unread || column == "region";
            assert!(goes, "{name}.{column} is personal and stays after an erasure");
        }
        for column in &table.sealed {
            assert!(table.personal.contains(column), "{name}.{column} is sealed and not personal");
        }
        let leads = table.columns().any(|column| column == "person_id");
        assert!(!leads || person != "none", "{name} has a person_id and leads to nobody");
        if !table.personal.is_empty() {
            assert!(table.export, "{name} is personal and in no export");
        }
    }
}

#[test]
fn the_registry_says_what_the_jobs_do() {
    let registry = registry();
    let now = Timestamp::parse("2026-01-05T10:00:00Z").unwrap();
    let days = |before: Timestamp| now.since(before).unwrap().micros() / 86_400_000_000;
    let mut done: BTreeMap<String, i64> = Upkeep::ALL
        .into_iter()
        .map(|upkeep| (format!("upkeep.remove {}", upkeep.word()), days(upkeep.before(now).unwrap())))
        .collect();
    let columns: BTreeSet<String> = registry
        .table
        .iter()
        .flat_map(|table| table.columns().map(|column| format!("{}.{column}", table.name)))
        .collect();
    for (class, Retention { days, from, job, says }) in &registry.retention {
        let used = registry.table.iter().any(|table| table.retention == *class);
        assert!(used, "nothing is kept as {class}");
        let Some(days) = days else {
            assert!(says.is_some() && from.is_none() && job.is_none(), "{class}");
            continue;
        };
        assert!(columns.contains(from.as_ref().unwrap()), "{class} is counted from nothing");
        let job = job.as_ref().unwrap();
        if job == workers::notifications::FORGET {
            let kept = match class.as_str() {
                "note" => app::notifications::KEPT_DAYS,
                _ => app::webhooks::KEPT_DAYS,
            };
            assert_eq!(*days, i64::from(kept), "{class}");
        } else {
            assert_eq!(done.remove(job), Some(*days), "{class} is kept otherwise than its job says");
        }
    }
    assert_eq!(done, BTreeMap::new(), "a job removes what the registry does not tell of");
    let scheduled = workers::schedules::platform().unwrap().len();
    assert_eq!(scheduled, Upkeep::ALL.len(), "every job is asked for by a schedule");
}
