//! `deployment/backup`: what its scripts keep comes back. Real servers, real repositories, real destruction, below the temporary
//! directory and gone afterwards.
//!
//! `RPO_KILLS` says how often the disk is lost (5), `BACKUP_MB` how large the database is whose restore is timed (2048).

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::backup_cloud::{CREDENTIALS, Store, keys_are_sent};
use super::tools::{Said, as_root, ask, installed, listed, postgres, refused, said_by, tradesense};
use super::{Checked, checked, failed};
use crate::machine::root;
use crate::platform::{Scratch, free_port, serves};
use crate::process::{Server, command, interrupted, log_to, now, poll};
use crate::{Failure, Outcome};

const SCRIPTS: &str = "deployment/backup";
/// What is promised of a disk that is lost.
const MOST_LOST: Duration = Duration::from_secs(75);
/// What is promised of the restore of the stated size.
const LONGEST_RESTORE: Duration = Duration::from_mins(15);

/// shellcheck and hadolint have nothing to say, and a segment of the log is kept as `keep-wal.sh` promises.
pub(crate) fn scripts() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        let root = root()?;
        let folder = root.join(SCRIPTS);
        let mut faults = Vec::new();
        let mut shellcheck = Command::new(installed("shellcheck", "shellcheck")?);
        shellcheck.args(["--external-sources", "--source-path=SCRIPTDIR"]).current_dir(&root);
        for file in fs::read_dir(&folder).map_err(Failure::of("list the scripts"))?.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let mode = file.metadata().map_or(0, |data| data.permissions().mode());
            if file.path().extension().is_some_and(|ending| ending == "sh") {
                shellcheck.arg(file.path());
                if name != "lib.sh" && mode & 0o111 == 0 {
                    faults.push(format!("{name} is no program"));
                }
            }
        }
        faults.extend(refused(&mut shellcheck)?);
        faults.extend(refused(
            Command::new(listed("hadolint")?).arg(folder.join("Dockerfile")).current_dir(&root),
        )?);
        let scratch = Scratch::new("keep-wal")?;
        let dir = scratch.path();
        let write = |name: &str, text: &str| {
            fs::write(dir.join(name), text).map_err(Failure::of(format!("write {name}")))
        };
        write("one", "one")?;
        write("two", "two")?;
        let keep = |from: &str, to: &str| -> Outcome<bool> {
            let mut keep = Command::new(folder.join("keep-wal.sh"));
            Ok(ask(keep.arg(dir.join(from)).arg("SEGMENT").arg(dir.join(to)))?.well)
        };
        let mut must = |good: bool, what: &str| {
            if !good {
                faults.push(format!("keep-wal.sh: {what}"));
            }
        };
        must(keep("one", "kept")? && !dir.join("kept").exists(), "keeps what nobody ships");
        fs::create_dir(dir.join("kept")).map_err(Failure::of("make a directory"))?;
        let kept = || fs::read_to_string(dir.join("kept/SEGMENT")).unwrap_or_default();
        must(keep("one", "kept")? && kept() == "one", "does not keep a segment");
        must(keep("one", "kept")?, "refuses what it has kept already");
        must(!keep("two", "kept")? && kept() == "one", "writes over another segment");
        must(!dir.join("kept/SEGMENT.part").exists(), "leaves a part");
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

/// Sealed to two people, opened by either of them alone and by nobody else; on Kubernetes by a `CronJob`, into a bucket.
pub(crate) fn secrets() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        let keygen = installed("age-keygen", "age")?;
        let script = root()?.join(SCRIPTS).join("secrets.sh");
        let scratch = Scratch::new("sealed")?;
        let dir = scratch.path();
        let mut recipients = Vec::new();
        for who in ["ada", "ben", "eve"] {
            let made = ask(Command::new(&keygen).arg("--output").arg(dir.join(who)))?;
            let public = ask(Command::new(&keygen).arg("-y").arg(dir.join(who)))?;
            if !made.well || !public.well {
                return Err(Failure::new(format!("age-keygen: {}{}", made.text, public.text)));
            }
            recipients.push(public.text);
        }
        let write = |name: &str, text: &str| {
            fs::write(dir.join(name), text).map_err(Failure::of(format!("write {name}")))
        };
        let of = |from: usize, to: usize| recipients.get(from..to).unwrap_or_default().concat();
        write("two", &of(0, 2))?;
        write("one", &of(0, 1))?;
        for folder in ["keys/people/firm", "secrets", "payments"] {
            fs::create_dir_all(dir.join(folder)).map_err(Failure::of(format!("make {folder}")))?;
        }
        let files = [
            "keys/receipt.key",
            "keys/audit.key",
            "keys/audit-2.key",
            "keys/people.kek",
            "keys/people/erasures",
            "keys/people/firm/person.key",
            "secrets/owner_url",
            "payments/payments.toml",
            "payments/stripe.key",
        ];
        for file in files {
            write(file, &format!("what {file} holds"))?;
            fs::set_permissions(dir.join(file), fs::Permissions::from_mode(0o600))
                .map_err(Failure::of("close a key to others"))?;
        }
        let seal = |recipients: &str, paths: &[&str]| -> Outcome<Said> {
            let mut seal = Command::new(&script);
            ask(seal.arg("seal").arg("sealed").arg(recipients).args(paths).current_dir(dir))
        };
        let mut faults = Vec::new();
        let mut must = |good: bool, what: &str| {
            if !good {
                faults.push(what.to_owned());
            }
        };
        must(!seal("one", &["keys"])?.well, "it is sealed to one person only");
        must(!seal("two", &["secrets"])?.well, "it is sealed without the keys");
        fs::rename(dir.join("keys/audit.key"), dir.join("away")).map_err(Failure::of("hide a key"))?;
        must(!seal("two", &["keys"])?.well, "it is sealed although a key is missing");
        fs::rename(dir.join("away"), dir.join("keys/audit.key")).map_err(Failure::of("put a key back"))?;
        let sealed = seal("two", &["keys", "secrets", "payments"])?;
        must(sealed.well, &format!("it is not sealed: {}", sealed.text));
        let file = dir.join(sealed.text.trim());
        let bytes = fs::read(&file).map_err(Failure::of("read what was sealed"))?;
        let shown = String::from_utf8_lossy(&bytes);
        must(!shown.contains("what keys") && !shown.contains("people"), "what is sealed can be read");
        let rights = fs::metadata(&file).map_or(0, |data| data.permissions().mode() & 0o777);
        must(rights == 0o600, &format!("the sealed file has mode {rights:o}"));
        let open = |who: &str, file: &Path, to: &str| -> Outcome<bool> {
            let mut open = Command::new(&script);
            Ok(ask(open.arg("open").arg(file).arg(who).arg(to).current_dir(dir))?.well)
        };
        for who in ["ada", "ben"] {
            let to = format!("opened-by-{who}");
            must(open(who, &file, &to)?, &format!("{who} alone cannot open it"));
            for file in files {
                let path = dir.join(&to).join(file);
                let same = fs::read_to_string(&path).is_ok_and(|text| text == format!("what {file} holds"));
                let rights = fs::metadata(&path).map_or(0, |data| data.permissions().mode() & 0o777);
                must(same && rights == 0o600, &format!("{file} does not come back to {who} as it was"));
            }
        }
        must(!open("eve", &file, "opened-by-eve")?, "somebody else opens it");
        must(!dir.join("opened-by-eve").exists(), "somebody else gets a part of it");
        must(!open("ada", &file, "opened-by-ben")?, "it is opened over what is there");
        let mut changed = bytes;
        if let Some(byte) = changed.last_mut() {
            *byte ^= 1;
        }
        fs::write(dir.join("changed"), changed).map_err(Failure::of("write a changed copy"))?;
        must(!open("ada", &dir.join("changed"), "opened-changed")?, "a changed file is opened");
        faults.extend(keys_are_sent(None)?);
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

/// Data of the platform, a base backup, more acts, an instant, destruction: restored to the instant, judged by `tradesense drill`, and
/// served by a platform that starts on it. A changed row, a hole in the log and a changed backup are noticed.
pub(crate) fn drill() -> Checked {
    checked(drilled().map_err(failed)?)
}

fn drilled() -> Outcome<Vec<String>> {
    as_root()?;
    let site = Site::new("drill")?;
    let primary = site.primary(&[])?;
    let shipping = site.shipping()?;
    let mut faults = Vec::new();
    let mut must = |good: bool, what: String| {
        if !good {
            faults.push(what);
        }
    };

    // A platform whose bots trade.
    let data = site.path("platform");
    fs::create_dir(&data).map_err(Failure::of("make the platform's directory"))?;
    let port = free_port()?;
    let up = site.up(&Site::url(primary.port), &data, port, "up")?;
    thread::sleep(Duration::from_secs(20));
    let base = site.script("ship.sh").arg("base").output().map_err(Failure::of("ask for a base backup"))?;
    must(base.status.success(), "no base backup was made when asked for".to_owned());
    thread::sleep(Duration::from_secs(20));
    let sealed = site.seal(&data)?;
    let mut early = site.tradesense("drill");
    early.arg("--database-url").arg(Site::url(primary.port)).arg("--keys-dir").arg(&sealed);
    let early = ask(&mut early)?;
    must(
        !early.well && early.text.contains("a platform works on this database"),
        format!("a drill runs on a database that is worked on: {}", early.text),
    );
    up.stop()?;

    // What is there at the instant; then more acts, somebody who is erased, and hands that should not.
    let before = site.counts(primary.port)?;
    let instant = site.sql(
        primary.port,
        "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    )?;
    let up = site.up(&Site::url(primary.port), &data, port, "up")?;
    erase(&data, port)?;
    up.stop()?;
    let ledger = fs::read(data.join("people/erasures")).map_err(Failure::of("read the ledger"))?;
    site.sql(
        primary.port,
        "begin; set local session_replication_role = replica; delete from people; delete from balance_entries; commit; \
         drop table ledger_transfers cascade; drop table journal cascade; select pg_switch_wal();",
    )?;
    let destroyed = site.counts(primary.port)?;
    must(destroyed != before, "nothing was destroyed".to_owned());
    site.wait_until_shipped(primary.port)?;
    primary.destroy()?;
    shipping.destroy()?;
    site.lose(&["primary", "wal", "work"])?;

    // The keys of the sealed backup, with the newest ledger of erasures.
    fs::write(sealed.join("people/erasures"), &ledger).map_err(Failure::of("put the ledger to the keys"))?;
    site.give(&site.path("opened"))?;
    let metrics = site.path("drill.prom");
    let began = now();
    let mut drill = site.script("drill.sh");
    drill.arg(&sealed).arg(&instant).args(["--", "--json", "--lost-at", &instant, "--metrics"]).arg(&metrics);
    let out = drill.output().map_err(Failure::of("run the drill"))?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    must(out.status.success(), format!("the drill fails: {report:#} {said}"));
    let mut restored: BTreeMap<String, i64> =
        serde_json::from_value(report.get("tables").cloned().unwrap_or_default()).unwrap_or_default();
    restored.retain(|name, _| before.contains_key(name));
    must(restored == before, format!("rows at the instant {before:?}\n    and restored {restored:?}"));
    let erasures = report.get("erasures").map(ToString::to_string).unwrap_or_default();
    must(erasures == "[1,1]", format!("who was erased after the instant is not erased again: {erasures}"));
    println!(
        "  restored to the instant: {} rows of {} tables, RTO {} s, RPO {} s, all in {} s",
        restored.values().fold(0_i64, |sum, rows| sum.saturating_add(*rows)),
        restored.len(),
        report.get("rto_seconds").unwrap_or(&Value::Null),
        report.get("rpo_seconds").unwrap_or(&Value::Null),
        began.elapsed().as_secs()
    );
    let told = fs::read_to_string(&metrics).unwrap_or_default();
    for name in ["timestamp_seconds ", "rto_seconds ", "rpo_seconds ", "failed 0"] {
        must(
            told.contains(&format!("\ntradesense_restore_drill_{name}")),
            format!("{name} is not told: {told}"),
        );
    }

    // Once more, as whoever has lost everything would: a platform serves from it, and later a row is changed.
    let copy = site.restored("copy", Some(&instant))?;
    let serving = site.path("serving");
    copy_keys(&sealed, &serving)?;
    let again = free_port()?;
    let served = site.up(&Site::url(copy.port), &serving, again, "up-again").and_then(Server::stop);
    must(served.is_ok(), format!("no platform serves from what was restored: {}", site.log("up-again")));
    let changed = "set session_replication_role = replica; \
         update audit_entries set action = action || '.' where id = (select min(id) from audit_entries)";
    site.sql(copy.port, changed)?;
    let mut judged = site.tradesense("drill");
    judged.arg("--database-url").arg(Site::url(copy.port)).arg("--keys-dir").arg(&sealed);
    let judged = ask(judged.arg("--metrics").arg(&metrics))?;
    must(
        !judged.well && judged.text.contains("the audit log is not what was signed"),
        format!("a changed row of the audit log is not noticed: {}", judged.text),
    );
    let told = fs::read_to_string(&metrics).unwrap_or_default();
    must(
        told.contains("drill_failed 1") && !told.contains("timestamp"),
        format!("a failed drill tells {told}"),
    );

    // A log with a hole, and a backup that was changed where it lies.
    let log = site.path("copy/restored-log");
    let mut segments: Vec<PathBuf> = fs::read_dir(&log)
        .map_err(Failure::of("list the restored log"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.len() == 24))
        .collect();
    segments.sort();
    must(segments.len() > 2, format!("there are {} segments of the log", segments.len()));
    copy.destroy()?;
    let middle = segments.len().div_euclid(2);
    if let Some(middle) = segments.get(middle) {
        fs::remove_file(middle).map_err(Failure::of("make a hole"))?;
    }
    let newest = ask(site.script("restore.sh").arg("--list"))?.text;
    let newest = newest.split_whitespace().next_back().unwrap_or_default().to_owned();
    let mut hole = site.as_postgres("restic");
    hole.args(["--quiet", "--repo"]).arg(site.path("repository/wal"));
    hole.args(["backup", "--host", "tradesense", "--tag", &format!("wal,{newest}"), "."]).current_dir(&log);
    let kept = ask(&mut hole)?;
    must(kept.well, format!("the log with a hole is not kept: {}", kept.text));
    let refused = ask(site.script("restore.sh").arg(site.path("holed")))?;
    must(
        !refused.well && refused.text.contains("the log has a hole"),
        format!("a hole in the log is not noticed: {}", refused.text),
    );
    change_a_pack(&site.path("repository/base"))?;
    let refused = ask(site.script("restore.sh").arg(site.path("changed")))?;
    must(!refused.well, format!("a changed backup is restored: {}", refused.text));
    let over = ask(site.script("restore.sh").arg(site.path("holed")))?;
    must(over.text.contains("nothing is restored over anything"), format!("it restores over {}", over.text));
    Ok(faults)
}

/// Erases the demonstration's auditor, as its operator.
fn erase(data: &Path, port: u16) -> Outcome {
    let text = fs::read_to_string(data.join("logins.json")).map_err(Failure::of("read the logins"))?;
    let logins: Value = serde_json::from_str(&text).map_err(Failure::of("read the logins"))?;
    let login = |title: &str, field: &str| -> String {
        let all = logins.as_array().map(Vec::as_slice).unwrap_or_default();
        let of = all.iter().find(|login| login.get("title").and_then(Value::as_str) == Some(title));
        of.and_then(|login| login.get(field)?.as_str()).unwrap_or_default().to_owned()
    };
    let jar = data.join("cookies");
    let call = |path: &str, body: &Value| -> Outcome<Value> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "20"]);
        curl.args(["--header", "content-type: application/json", "--data", &body.to_string()]);
        curl.arg("--cookie").arg(&jar).arg("--cookie-jar").arg(&jar);
        let said = ask(curl.arg(format!("http://127.0.0.1:{port}/v1{path}")))?;
        if !said.well {
            return Err(Failure::new(format!("{path}: {}", said.text)));
        }
        Ok(serde_json::from_str(&said.text).unwrap_or_default())
    };
    let (email, password) = (login("operator", "email"), login("operator", "password"));
    call("/auth/sign-in", &serde_json::json!({ "email": email, "password": password }))?;
    let reason = "the drill of backups";
    let found =
        call("/people/find", &serde_json::json!({ "email": login("auditor", "email"), "reason": reason }))?;
    let id = found.get("id").and_then(Value::as_str).unwrap_or_default();
    call(&format!("/people/{id}/erasure"), &serde_json::json!({ "reason": reason })).map(drop)
}

/// What a platform takes from opened keys.
fn copy_keys(from: &Path, to: &Path) -> Outcome {
    let copied = ask(Command::new("cp").arg("-r").arg(from).arg(to))?;
    if copied.well { Ok(()) } else { Err(Failure::new(copied.text)) }
}

/// One byte in the middle of the largest file of a repository.
fn change_a_pack(repository: &Path) -> Outcome {
    let mut largest: Option<(u64, PathBuf)> = None;
    for folder in fs::read_dir(repository.join("data")).map_err(Failure::of("list the packs"))?.flatten() {
        for pack in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let size = pack.metadata().map_or(0, |data| data.len());
            if largest.as_ref().is_none_or(|(most, _)| *most < size) {
                largest = Some((size, pack.path()));
            }
        }
    }
    let (_, pack) = largest.ok_or_else(|| Failure::new("the repository holds nothing"))?;
    let mut bytes = fs::read(&pack).map_err(Failure::of("read a pack"))?;
    let middle = bytes.len().div_euclid(2);
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).map_err(Failure::of("open a pack"))?;
    fs::write(&pack, bytes).map_err(Failure::of("change a pack"))
}

/// Under steady writes the primary is killed and everything but the repository deleted, at random instants: what was acknowledged and
/// does not come back from the repository alone is less than promised, and nothing before it is missing.
pub(crate) fn rpo() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        as_root()?;
        let kills: u32 = setting("RPO_KILLS", 5)?;
        let mut faults = Vec::new();
        let mut worst = Duration::ZERO;
        let mut done = 0_u32;
        // A few at a time: they mostly wait.
        while done < kills {
            let together = kills.saturating_sub(done).min(3);
            let losses: Vec<Outcome<Loss>> = thread::scope(|scope| {
                let round = |number: u32| scope.spawn(move || lose_a_disk(number));
                let running: Vec<_> = (0..together).map(|more| round(done.saturating_add(more))).collect();
                let end = |round: thread::ScopedJoinHandle<'_, Outcome<Loss>>| {
                    round.join().unwrap_or_else(|_| Err(Failure::new("a round of the meter broke off")))
                };
                running.into_iter().map(end).collect()
            });
            for loss in losses {
                let Loss { after, acknowledged, restored, missing, lost, took } = loss?;
                println!(
                    "  killed after {} s: {restored} of {acknowledged} writes came back, {} s lost; restored in {} s",
                    tenths(after),
                    tenths(lost),
                    tenths(took)
                );
                worst = worst.max(lost);
                if missing > 0 {
                    faults.push(format!("{missing} writes are missing before the newest that came back"));
                }
            }
            done = done.saturating_add(together);
        }
        println!("  worst of {kills}: {} s lost", tenths(worst));
        if worst >= MOST_LOST {
            faults.push(format!(
                "{} s are lost, and less than {} s promised",
                worst.as_secs(),
                MOST_LOST.as_secs()
            ));
        }
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

struct Loss {
    /// How long it had been written.
    after: Duration,
    acknowledged: usize,
    restored: usize,
    /// Acknowledged before the newest that came back, and not there.
    missing: usize,
    lost: Duration,
    took: Duration,
}

fn lose_a_disk(number: u32) -> Outcome<Loss> {
    let site = Site::new(&format!("rpo-{number}"))?;
    let primary = site.primary(&[])?;
    site.sql(primary.port, "create table written (number bigint primary key, at timestamptz not null)")?;
    let shipping = site.shipping()?;
    site.wait_for_base()?;
    // Between one and a bit more than two lengths of a segment's time.
    let after = Duration::from_millis(61_000_u64.saturating_add(u64::from(chance()? % 70_000)));
    let began = now();
    let mut writer = Writer::start(&site, primary.port)?;
    let mut acknowledged: Vec<(i64, i64)> = Vec::new();
    while began.elapsed() < after {
        if interrupted() {
            return Err(Failure::new("stopped"));
        }
        let number = i64::try_from(acknowledged.len()).map_err(Failure::of("count writes"))?;
        acknowledged.push((number, writer.write(number)?));
        thread::sleep(Duration::from_millis(50));
    }
    // The disk goes first: nothing is finished for the sake of it.
    primary.destroy()?;
    shipping.destroy()?;
    writer.end();
    site.lose(&["primary", "wal", "work"])?;

    let began = now();
    let copy = site.restored("copy", None)?;
    let took = began.elapsed();
    let there = site.sql(copy.port, "select count(*), coalesce(max(number), -1) from written")?;
    copy.destroy()?;
    let mut numbers = there.split('|').map(|text| text.trim().parse::<i64>().unwrap_or(-1));
    let (count, newest) = (numbers.next().unwrap_or(-1), numbers.next().unwrap_or(-1));
    let newest_at = acknowledged.iter().find(|(number, _)| *number == newest).map(|(_, at)| *at);
    let last_at = acknowledged.last().map(|(_, at)| *at);
    // If nothing came back, all of it is lost.
    let lost = match (newest_at, last_at) {
        (Some(newest), Some(last)) => {
            Duration::from_micros(u64::try_from(last.saturating_sub(newest)).unwrap_or_default())
        }
        _ if count > i64::try_from(acknowledged.len()).unwrap_or(i64::MAX) => Duration::ZERO,
        _ => after,
    };
    let restored = usize::try_from(count).unwrap_or_default();
    let up_to = usize::try_from(newest.saturating_add(1)).unwrap_or_default();
    Ok(Loss {
        after,
        acknowledged: acknowledged.len(),
        restored,
        missing: up_to.saturating_sub(restored),
        lost,
        took,
    })
}

/// A repository in a store as S3 speaks, under a prefix: made there, written, and a database that was lost comes back from it.
pub(crate) fn in_a_store() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        as_root()?;
        let mut site = Site::new("s3")?;
        let store = Store::start(site.scratch.path())?;
        store.ask("PUT", "tradesense-backups")?;
        site.repository = format!("s3:{}/tradesense-backups/firm", store.url);
        fs::write(site.path("credentials"), CREDENTIALS).map_err(Failure::of("write the credentials"))?;
        site.give(&site.path("credentials"))?;
        let primary = site.primary(&[])?;
        let written = "create table written as select generate_series(1, 1000) as number";
        site.sql(primary.port, written)?;
        let shipping = site.shipping()?;
        site.sql(primary.port, "insert into written select generate_series(1001, 3000)")?;
        site.wait_until_shipped(primary.port)?;
        primary.destroy()?;
        shipping.destroy()?;
        site.lose(&["primary", "wal", "work"])?;
        let copy = site.restored("copy", None)?;
        let there = site.sql(copy.port, "select count(*), sum(number) from written")?;
        copy.destroy()?;
        let mut faults = Vec::new();
        if there.trim() != "3000|4501500" {
            faults.push(format!("of 3000 rows came back {there}"));
        }
        let names = store.names("tradesense-backups")?;
        if names.is_empty() || names.iter().any(|name| !name.starts_with("firm/")) {
            faults.push(format!("the bucket holds {names:?}"));
        }
        if ["wal", "base"].iter().any(|name| site.path("repository").join(name).exists()) {
            faults.push("something lies in a folder of this machine too".to_owned());
        }
        println!("  {} objects in the store", names.len());
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

/// How long the restore of a stated size takes, and what that means for others.
pub(crate) fn size() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        as_root()?;
        let megabytes: u32 = setting("BACKUP_MB", 2_048)?;
        let site = Site::new("size")?;
        // What is loaded by the transaction that makes the table needs no log.
        let loading =
            site.primary(&["wal_level=minimal", "max_wal_senders=0", "archive_mode=off", "autovacuum=off"])?;
        // A row of 1 024 bytes that no compression makes smaller, in place, with a checksum of its page.
        let digests: Vec<String> = (0..14).map(|part| format!("sha512(('{part}-' || i)::bytea)")).collect();
        site.sql(
            loading.port,
            &format!(
                "begin; create table filler (number bigint not null, bytes bytea not null); \
                 alter table filler alter bytes set storage plain; \
                 insert into filler select i, {} from generate_series(1, {}::bigint * 1024) i; commit; checkpoint;",
                digests.join(" || "),
                megabytes
            ),
        )?;
        let bytes: u64 = site
            .sql(loading.port, "select pg_database_size(current_database())")?
            .parse()
            .map_err(Failure::of("read the size"))?;
        loading.stop()?;
        let primary = site.primary(&[])?;
        let began = now();
        let shipping = site.shipping()?;
        site.wait_for_base()?;
        let backed_up = began.elapsed();
        primary.destroy()?;
        shipping.destroy()?;
        site.lose(&["primary", "wal", "work"])?;
        let began = now();
        let copy = site.restored("copy", None)?;
        let restored = began.elapsed();
        let rows = site.sql(copy.port, "select count(*) from filler")?;
        copy.destroy()?;
        let rate = |took: Duration| {
            u128::from(bytes).checked_div(took.as_millis().saturating_mul(1_000)).unwrap_or(0)
        };
        let (kept, came) = (rate(backed_up), rate(restored));
        let hundred = 100_000_u128.checked_div(came.max(1)).unwrap_or(0).div_ceil(60);
        let within = came.saturating_mul(u128::from(LONGEST_RESTORE.as_secs())).div_euclid(1_000);
        println!(
            "  {} MB: backed up and verified in {} s ({kept} MB/s), restored, verified and serving in {} s ({came} MB/s); \
             at this rate 100 GB take {hundred} min, and {within} GB come back within 15 min",
            bytes.div_euclid(1_000_000),
            backed_up.as_secs(),
            restored.as_secs()
        );
        let wanted = u64::from(megabytes).saturating_mul(1_024).to_string();
        let mut faults = Vec::new();
        if rows != wanted {
            faults.push(format!("{rows} of {wanted} rows came back"));
        }
        if restored > LONGEST_RESTORE {
            faults.push(format!("the restore took {} s", restored.as_secs()));
        }
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

/// Seconds, with one digit behind the point.
fn tenths(time: Duration) -> String {
    format!("{}.{}", time.as_secs(), time.subsec_millis().div_euclid(100))
}

/// A number that may be set.
fn setting(name: &str, usual: u32) -> Outcome<u32> {
    let Some(text) = std::env::var_os(name) else { return Ok(usual) };
    let text = text.to_string_lossy();
    text.parse().map_err(Failure::of(format!("read {name}={text}")))
}

fn chance() -> Outcome<u32> {
    let mut bytes = [0_u8; 4];
    let read =
        fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.map_err(Failure::of("read /dev/urandom"))?;
    Ok(u32::from_le_bytes(bytes))
}

/// A place with a primary, a repository, and everything around them; all of it below one directory.
struct Site {
    scratch: Scratch,
    user: (u32, u32),
    programs: PathBuf,
    /// Where backups lie, as restic names it.
    repository: String,
}

/// A server that runs; with everything that it started.
struct Running {
    child: Child,
    port: u16,
}

impl Running {
    /// As a machine that burns.
    fn destroy(mut self) -> Outcome {
        self.signal(Signal::KILL);
        self.child.wait().map(drop).map_err(Failure::of("wait for what was killed"))
    }

    fn stop(mut self) -> Outcome {
        self.signal(Signal::INT);
        let ended = poll(Duration::from_mins(2), || self.child.try_wait().ok().flatten());
        if ended.is_some() { Ok(()) } else { Err(Failure::new("the server does not stop")) }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may be gone, which is what we are after.
            let _gone = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
            let _gone = self.child.wait();
        }
    }
}

impl Site {
    fn new(name: &str) -> Outcome<Self> {
        for (program, package) in [("restic", "restic"), ("age", "age"), ("jq", "jq"), ("curl", "curl")] {
            installed(program, package)?;
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(Failure::of("read /etc/passwd"))?;
        let number = |at: usize| -> Option<u32> {
            passwd.lines().find(|line| line.starts_with("postgres:"))?.split(':').nth(at)?.parse().ok()
        };
        let user = number(2).zip(number(3)).ok_or_else(|| Failure::new("there is no user postgres"))?;
        let scratch = Scratch::new(&format!("backup-{name}"))?;
        let programs = postgres(scratch.path())?;
        let repository = scratch.path().join("repository").display().to_string();
        let site = Self { scratch, user, programs, repository };
        // Scripts make their own directories in it.
        chown(site.scratch.path(), Some(user.0), Some(user.1))
            .map_err(Failure::of("give the directory away"))?;
        for folder in ["bin", "repository", "sockets"] {
            fs::create_dir(site.path(folder)).map_err(Failure::of(format!("make {folder}")))?;
            site.give(&site.path(folder))?;
        }
        // The scripts and the program may lie where the server's user cannot go.
        for file in fs::read_dir(root()?.join(SCRIPTS)).map_err(Failure::of("list the scripts"))?.flatten() {
            fs::copy(file.path(), site.path("bin").join(file.file_name()))
                .map_err(Failure::of("copy a script"))?;
        }
        fs::write(site.path("password"), "a password of the repository\n")
            .map_err(Failure::of("write a password"))?;
        site.give(&site.path("password"))?;
        Ok(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Gives it, and what is in it, to the server's user.
    fn give(&self, path: &Path) -> Outcome {
        let (user, group) = self.user;
        chown(path, Some(user), Some(group)).map_err(Failure::of(format!("give away {}", path.display())))?;
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            self.give(&entry.path())?;
        }
        Ok(())
    }

    fn as_postgres(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let (user, group) = self.user;
        let bin = self.path("bin");
        let path = format!("{}:{}:/usr/local/bin:/usr/bin:/bin", bin.display(), self.programs.display());
        command.uid(user).gid(group).current_dir(self.scratch.path()).env_clear();
        command.env("PATH", path).env("LC_ALL", "C.UTF-8").env("HOME", self.scratch.path());
        command
            .env("BACKUP_REPOSITORY", &self.repository)
            .env("AWS_SHARED_CREDENTIALS_FILE", self.path("credentials"))
            .env("RESTIC_PASSWORD_FILE", self.path("password"));
        command.env("BACKUP_WAL", self.path("wal")).env("BACKUP_WORK", self.path("work"));
        command.env("RESTIC_CACHE_DIR", self.path("repository/cache"));
        command.stdin(Stdio::null());
        command
    }

    fn script(&self, name: &str) -> Command {
        self.as_postgres(&self.path("bin").join(name).display().to_string())
    }

    /// The program under test, where the scripts find it.
    fn tradesense(&self, command: &str) -> Command {
        let mut tradesense = Command::new(self.path("bin/tradesense"));
        tradesense.arg(command).current_dir(self.scratch.path()).env_remove("DATABASE_URL");
        tradesense
    }

    fn url(port: u16) -> String {
        format!("postgres://tradesense@127.0.0.1:{port}/tradesense")
    }

    /// The primary as the compose file sets it up, with what is said besides.
    fn primary(&self, more: &[&str]) -> Outcome<Running> {
        let data = self.path("primary");
        let is_new = !data.exists();
        if is_new {
            self.make_room("primary")?;
            let mut initdb = self.as_postgres("initdb");
            initdb.arg("--pgdata").arg(&data).args([
                "--username=tradesense",
                "--auth=trust",
                "--data-checksums",
            ]);
            said_by(initdb.args(["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]))?;
        }
        self.make_room("work")?;
        let keep = format!(
            "archive_command={} %p %f {}",
            self.path("bin/keep-wal.sh").display(),
            self.path("wal").display()
        );
        let usual =
            ["archive_mode=on", "archive_timeout=60", &keep, "wal_compression=on", "max_wal_size=2GB"];
        let running = self.server("primary", &[&usual, more].concat())?;
        if is_new {
            said_by(self.as_postgres("createdb").args(Self::at(running.port)).arg("tradesense"))?;
        }
        Ok(running)
    }

    fn at(port: u16) -> [String; 3] {
        ["--host=127.0.0.1".to_owned(), format!("--port={port}"), "--username=tradesense".to_owned()]
    }

    fn make_room(&self, name: &str) -> Outcome {
        let path = self.path(name);
        fs::create_dir_all(&path).map_err(Failure::of(format!("make {name}")))?;
        self.give(&path)
    }

    /// A server on a directory; returns once it answers and may be written.
    fn server(&self, name: &str, settings: &[&str]) -> Outcome<Running> {
        let port = free_port()?;
        let mut server = self.as_postgres("postgres");
        server.arg("-D").arg(self.path(name)).arg("-p").arg(port.to_string());
        let sockets = format!("unix_socket_directories={}", self.path("sockets").display());
        for setting in [&["listen_addresses=127.0.0.1", &sockets, "max_connections=150"], settings].concat() {
            server.args(["-c", setting]);
        }
        log_to(&mut server, &self.path(&format!("{name}.log")))?;
        let child = server.process_group(0).spawn().map_err(Failure::of("start postgres"))?;
        let mut running = Running { child, port };
        let up = poll(Duration::from_mins(15), || {
            if interrupted() || !matches!(running.child.try_wait(), Ok(None)) {
                return Some(false);
            }
            thread::sleep(Duration::from_millis(100));
            let asked = self.sql_in(port, "postgres", "select pg_is_in_recovery()");
            asked.is_ok_and(|answer| answer == "f").then_some(true)
        });
        if up == Some(true) { Ok(running) } else { Err(Failure::new(format!("{name}: {}", self.log(name)))) }
    }

    /// Restores into a directory of that name and starts a server on it.
    fn restored(&self, name: &str, instant: Option<&str>) -> Outcome<Running> {
        let mut restore = self.script("restore.sh");
        restore.arg(self.path(name)).args(instant);
        said_by(&mut restore)?;
        self.server(name, &["archive_mode=off", "hot_standby=off"])
    }

    /// The service that ships.
    fn shipping(&self) -> Outcome<Running> {
        self.make_room("wal")?;
        self.make_room("work")?;
        let mut ship = self.script("ship.sh");
        let port = fs::read_to_string(self.path("primary/postmaster.pid"))
            .map_err(Failure::of("find the primary"))?;
        let port = port.lines().nth(3).unwrap_or_default().to_owned();
        ship.arg("loop").env("PGHOST", "127.0.0.1").env("PGPORT", &port).env("PGUSER", "tradesense");
        log_to(&mut ship, &self.path("ship.log"))?;
        let child = ship.process_group(0).spawn().map_err(Failure::of("start ship.sh"))?;
        let shipping = Running { child, port: port.parse().map_err(Failure::of("read the port"))? };
        self.wait_for_base()?;
        Ok(shipping)
    }

    fn wait_for_base(&self) -> Outcome {
        let there = poll(Duration::from_mins(20), || {
            thread::sleep(Duration::from_millis(100));
            (interrupted() || self.path("work/current").exists()).then_some(())
        });
        match there {
            Some(()) if !interrupted() => Ok(()),
            _ => Err(Failure::new(format!("no base backup was kept: {}", self.log("ship")))),
        }
    }

    /// Until the segment that was just closed lies in the repository.
    fn wait_until_shipped(&self, port: u16) -> Outcome {
        let segment = self.sql(port, "select pg_walfile_name(pg_switch_wal())")?;
        let shipped = poll(Duration::from_mins(2), || {
            thread::sleep(Duration::from_millis(200));
            let archived = self.sql(port, "select last_archived_wal from pg_stat_archiver").ok()?;
            (archived >= segment).then_some(())
        });
        shipped.ok_or_else(|| Failure::new("the log is not archived"))?;
        let kept = poll(Duration::from_mins(2), || {
            let mut list = self.as_postgres("restic");
            list.args(["--quiet", "--no-lock", "--repo", &format!("{}/wal", self.repository)]);
            let said = ask(list.args(["ls", "latest", "--tag", "wal"])).ok()?;
            said.text.contains(&segment).then_some(())
        });
        kept.ok_or_else(|| Failure::new("the log is not shipped"))
    }

    /// Their files are gone.
    fn lose(&self, names: &[&str]) -> Outcome {
        for name in names {
            fs::remove_dir_all(self.path(name)).map_err(Failure::of(format!("lose {name}")))?;
        }
        self.make_room("work")
    }

    fn sql(&self, port: u16, text: &str) -> Outcome<String> {
        self.sql_in(port, "tradesense", text)
    }

    fn sql_in(&self, port: u16, database: &str, text: &str) -> Outcome<String> {
        let mut psql = self.as_postgres("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1"])
            .args(Self::at(port))
            .arg("-d")
            .arg(database)
            .args(["-c", text]);
        let said = ask(&mut psql)?;
        if said.well {
            Ok(said.text.trim().to_owned())
        } else {
            Err(Failure::new(format!("psql: {}", said.text)))
        }
    }

    /// Rows by table, of those that a drill does not write itself.
    fn counts(&self, port: u16) -> Outcome<BTreeMap<String, i64>> {
        // The question is made by the database, which knows its tables.
        let question = self.sql(
            port,
            "select 'select coalesce(json_object_agg(name, rows), ''{}'') from (' \
                 || string_agg(format('select %L as name, count(*) as rows from %I', relname, relname), ' union all ') || ') as counted' \
             from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition",
        )?;
        let said = self.sql(port, &question)?;
        let mut counts: BTreeMap<String, i64> =
            serde_json::from_str(&said).map_err(Failure::of("read the counts"))?;
        // Leases come and go by the clock alone.
        for name in ["shard_owners", "lease_seekers"] {
            counts.remove(name);
        }
        Ok(counts)
    }

    /// `tradesense up` on a database, until it serves.
    fn up(&self, url: &str, data: &Path, port: u16, name: &str) -> Outcome<Server> {
        let to = self.path("bin/tradesense");
        if !to.exists() {
            let program = tradesense()?;
            if fs::hard_link(&program, &to).is_err() {
                fs::copy(&program, &to).map_err(Failure::of("copy tradesense"))?;
            }
        }
        let mut up = command(&to, self.scratch.path());
        up.arg("up").arg("--data-dir").arg(data).arg("--port").arg(port.to_string());
        up.args(["--ops-port", "0", "--analytics-port", "0", "--database-url", url]);
        log_to(&mut up, &self.path(&format!("{name}.log")))?;
        let mut server = Server::start(&mut up)?;
        if serves(&mut server, port) {
            Ok(server)
        } else {
            Err(Failure::new(format!("{name}: {}", self.log(name))))
        }
    }

    /// Seals the platform's keys to two people and opens them again: what a drill works with.
    fn seal(&self, data: &Path) -> Outcome<PathBuf> {
        let keys = self.path("keys");
        fs::create_dir(&keys).map_err(Failure::of("make the directory of keys"))?;
        for name in ["receipt.key", "audit.key", "people.kek", "people"] {
            copy_keys(&data.join(name), &keys.join(name))?;
        }
        let keygen = installed("age-keygen", "age")?;
        let mut recipients = String::new();
        for who in ["ada", "ben"] {
            said_by(Command::new(&keygen).arg("--output").arg(self.path(who)))?;
            recipients.push_str(&ask(Command::new(&keygen).arg("-y").arg(self.path(who)))?.text);
        }
        fs::write(self.path("recipients"), recipients).map_err(Failure::of("write the recipients"))?;
        let script = self.path("bin/secrets.sh");
        let sealed = ask(Command::new(&script)
            .arg("seal")
            .arg(self.path("sealed"))
            .arg(self.path("recipients"))
            .arg(&keys))?;
        let opened = self.path("opened");
        said_by(
            Command::new(&script).arg("open").arg(sealed.text.trim()).arg(self.path("ben")).arg(&opened),
        )?;
        Ok(opened.join("keys"))
    }

    fn log(&self, name: &str) -> String {
        let log = fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n    ")
    }
}

/// Writes one row after the other and hears that each is there.
struct Writer {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Writer {
    fn start(site: &Site, port: u16) -> Outcome<Self> {
        let mut psql = site.as_postgres("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1"]).args(Site::at(port)).args(["-d", "tradesense"]);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = psql.spawn().map_err(Failure::of("start the writer"))?;
        let out = child.stdout.take().ok_or_else(|| Failure::new("the writer says nothing"))?;
        Ok(Self { child, lines: BufReader::new(out) })
    }

    /// When it was written, in microseconds, by the database's clock; once that is acknowledged.
    fn write(&mut self, number: i64) -> Outcome<i64> {
        let text = format!(
            "insert into written values ({number}, clock_timestamp()) returning (extract(epoch from at) * 1000000)::bigint;\n"
        );
        let input = self.child.stdin.as_mut().ok_or_else(|| Failure::new("the writer hears nothing"))?;
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).map_err(Failure::of("write a row"))?;
        let mut line = String::new();
        self.lines.read_line(&mut line).map_err(Failure::of("hear that a row was written"))?;
        line.trim().parse().map_err(Failure::of(format!("hear that row {number} was written")))
    }

    fn end(mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
