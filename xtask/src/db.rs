//! `cargo xtask db`: the development database, and the offline data of checked queries.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use embedded::{Postgres, Purpose, Settings};

use crate::machine::{Need, postgresql, provide, psql, root, target};
use crate::process::{adopt_orphans, cargo, command, run as run_program, sweep};
use crate::{Failure, Outcome, only_flag};

const ADVICE: &str = "run `cargo xtask db prepare` and commit crates/store/.sqlx";

pub(crate) fn run(mut args: lexopt::Parser) -> Outcome {
    let name = args.value().map_err(|_| Failure::new("say which: prepare, up, url, down"))?;
    let dir = target()?.join("dev-db");
    match name.to_str() {
        Some("prepare") => {
            let check = only_flag(args, "check")?;
            provide(&[Need::PostgreSql])?;
            adopt_orphans()?;
            let outcome = start_fresh("prepare-db").and_then(|server| {
                let outcome = root().and_then(|root| prepare(&root, &server, check));
                let stopped = stop_and_erase(server);
                outcome.and(stopped)
            });
            sweep(&[]);
            outcome
        }
        Some("up") => {
            no_more(args)?;
            provide(&[Need::PostgreSql])?;
            let running = match Postgres::find(&dir)? {
                Some(running) => running,
                None => {
                    Postgres::start(&Settings::new(dir, Purpose::Disposable, postgresql()?))?.leave_running()
                }
            };
            println!("{}", running.url("postgres"));
            Ok(())
        }
        Some("url") => {
            no_more(args)?;
            let running = Postgres::find(&dir)?;
            let running =
                running.ok_or_else(|| Failure::new("it does not run; start it: cargo xtask db up"))?;
            println!("{}", running.url("postgres"));
            Ok(())
        }
        Some("down") => {
            no_more(args)?;
            let stopped = Postgres::stop_left(&dir)?;
            println!("{}", if stopped { "stopped" } else { "it did not run" });
            Ok(())
        }
        _ => Err(Failure::new(format!(
            "no such command: db {}; there are prepare, up, url, down",
            name.display()
        ))),
    }
}

fn no_more(mut args: lexopt::Parser) -> Outcome {
    args.next()?.map_or(Ok(()), |arg| Err(arg.unexpected().into()))
}

/// Starts an empty throw-away server. What a killed run left is removed first.
pub(crate) fn start_fresh(name: &str) -> Outcome<Postgres> {
    let dir = target()?.join(name);
    Postgres::erase(&dir)?;
    Ok(Postgres::start(&Settings::new(dir, Purpose::Disposable, postgresql()?))?)
}

/// Stops it and removes its files.
pub(crate) fn stop_and_erase(server: Postgres) -> Outcome {
    let dir = server.dir().to_path_buf();
    server.stop()?;
    Ok(Postgres::erase(&dir)?)
}

/// Makes sqlx describe every checked query of `store` on a database with all migrations, and keeps or
/// compares the descriptions.
pub(crate) fn prepare(root: &Path, server: &Postgres, check: bool) -> Outcome {
    let database = "prepare";
    let create = format!("create database {database}");
    run_program(psql_command(root, &server.url("postgres"))?.args(["-c", &create]))?;
    let url = server.url(database);
    for migration in migrations(&root.join("crates/store/migrations"))? {
        let mut apply = psql_command(root, &url)?;
        let text =
            fs::read_to_string(&migration).map_err(Failure::of(format!("read {}", migration.display())))?;
        // sqlx's own mark for a migration that cannot run in a transaction.
        if !text.starts_with("-- no-transaction") {
            apply.arg("--single-transaction");
        }
        run_program(apply.arg("--file").arg(&migration))?;
    }

    let fresh = target()?.join("sqlx");
    let _absent = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).map_err(Failure::of(format!("create {}", fresh.display())))?;
    // The macros write while they are expanded, and cargo expands only what it compiles: a flag that no
    // other build has makes it compile `store`, and leaves the results of other builds valid.
    let mut compile = cargo(root);
    let built = target()?.join("debug");
    let before = results(&built);
    compile
        .env("CARGO_INCREMENTAL", "0")
        .args(["rustc", "--quiet", "--package", "store", "--lib", "--profile", "check", "--"])
        .args(["--cfg", &format!("sqlx_prepare_{}", nonce()), "--cap-lints", "allow"])
        .env("DATABASE_URL", &url)
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", &fresh);
    let compiled = run_program(&mut compile);
    // Nobody will ask for that flag again.
    for left in results(&built).difference(&before) {
        let removed = if left.is_dir() { fs::remove_dir_all(left) } else { fs::remove_file(left) };
        removed.map_err(Failure::of(format!("remove {}", left.display())))?;
    }
    compiled?;

    let kept = root.join("crates/store/.sqlx");
    let (new, old) = (descriptions(&fresh)?, descriptions(&kept)?);
    if new == old {
        println!("{} query descriptions, all current", new.len());
        return Ok(());
    }
    if check {
        let missing = new.iter().filter(|(name, bytes)| old.get(*name) != Some(bytes)).count();
        let stale = old.keys().filter(|name| !new.contains_key(*name)).count();
        return Err(Failure::new(format!(
            "crates/store/.sqlx: {missing} missing or changed, {stale} stale; {ADVICE}"
        )));
    }
    fs::create_dir_all(&kept).map_err(Failure::of(format!("create {}", kept.display())))?;
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        let stale = kept.join(name);
        fs::remove_file(&stale).map_err(Failure::of(format!("remove {}", stale.display())))?;
    }
    for (name, bytes) in &new {
        let file = kept.join(name);
        fs::write(&file, bytes).map_err(Failure::of(format!("write {}", file.display())))?;
    }
    println!("{} query descriptions written", new.len());
    Ok(())
}

pub(crate) fn psql_command(root: &Path, url: &str) -> Outcome<std::process::Command> {
    let program =
        psql().ok_or_else(|| Failure::new("psql is missing; install Debian's package postgresql-client"))?;
    let mut command = command(program, root);
    command.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", url]);
    // Notices of `if not exists` and the like say nothing here.
    command.env("PGOPTIONS", "--client-min-messages=warning");
    Ok(command)
}

/// The migrations in their order: `0001_name.sql`, by number.
pub(crate) fn migrations(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir).map_err(Failure::of(format!("read {}", dir.display())))? {
        let path = entry.map_err(Failure::of(format!("read {}", dir.display())))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name.split('_').next().and_then(|number| number.parse().ok());
        if let Some(number) = number.filter(|_| name.ends_with(".sql") && !name.ends_with(".down.sql")) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// What cargo keeps of compiling `store`.
fn results(built: &Path) -> BTreeSet<PathBuf> {
    let folders = [built.join(".fingerprint"), built.join("deps")];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let of_store = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["store-", "libstore-"].iter().any(|start| name.starts_with(start))
    };
    entries.map(|entry| entry.path()).filter(of_store).collect()
}

/// The files of a folder of query descriptions; empty where there is no folder.
fn descriptions(dir: &Path) -> Outcome<BTreeMap<std::ffi::OsString, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry.map_err(Failure::of(format!("read {}", dir.display())))?;
        let bytes =
            fs::read(entry.path()).map_err(Failure::of(format!("read {}", entry.path().display())))?;
        all.insert(entry.file_name(), bytes);
    }
    Ok(all)
}

#[expect(clippy::disallowed_methods, reason = "any number that the last run did not have will do")]
fn nonce() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_come_in_the_order_of_their_numbers() {
        let dir = std::env::temp_dir().join(format!("xtask-migrations-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        for name in ["0002_b.sql", "0001_a.sql", "10_c.sql", "0001_a.down.sql", "README.md"] {
            fs::write(dir.join(name), "").unwrap();
        }
        let names: Vec<_> = migrations(&dir).unwrap_or_default();
        fs::remove_dir_all(&dir).unwrap();
        let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["0001_a.sql", "0002_b.sql", "10_c.sql"]);
    }
}
