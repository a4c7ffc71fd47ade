//! The release: its workflows' rights and order, its scripts, and a rehearsal of them among programs that only write down what they
//! were asked and answer as they are told.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml_ng::{Mapping, Value};

use super::tools::{Said, ask, installed, listed, refused};
use super::{Checked, checked, failed};
use crate::machine::root;
use crate::platform::Scratch;
use crate::{Failure, Outcome};

const WORKFLOWS: &str = ".github/workflows";
const SCRIPTS: &str = "deployment/release";
/// Jobs that may speak in the workflow's name.
const NAMED: [&str; 4] = ["sign", "staging", "production-eu", "production-us"];
/// What each job waits for, at least.
const ORDER: [(&str, &[&str]); 5] = [
    ("build", &["gate"]),
    ("sign", &["build"]),
    ("staging", &["sign"]),
    ("production-eu", &["staging"]),
    ("production-us", &["production-eu"]),
];

/// What the workflows must say, and what zizmor and the schema say.
pub(crate) fn workflows() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        let root = root()?;
        let mut faults = Vec::new();
        for file in files(&root.join(WORKFLOWS), "yml")? {
            let text = fs::read_to_string(&file).map_err(Failure::of(format!("read {}", file.display())))?;
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            faults.extend(said(&text)?.into_iter().map(|fault| format!("{name}: {fault}")));
        }
        let mut zizmor = Command::new(listed("zizmor")?);
        zizmor.args(["--offline", "--persona=pedantic", "--no-progress", WORKFLOWS]).current_dir(&root);
        faults.extend(refused(&mut zizmor)?);
        let mut schema = Command::new(listed("check-jsonschema")?);
        schema
            .args(["--builtin-schema", "vendor.github-workflows"])
            .args(files(&root.join(WORKFLOWS), "yml")?)
            .current_dir(&root);
        faults.extend(refused(&mut schema)?);
        let mut renovate = Command::new(listed("check-jsonschema")?);
        renovate.args(["--builtin-schema", "vendor.renovate", "renovate.json"]).current_dir(&root);
        faults.extend(refused(&mut renovate)?);
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

fn said(text: &str) -> Outcome<Vec<String>> {
    let value: Value = serde_yaml_ng::from_str(text).map_err(Failure::of("read a workflow"))?;
    let mut faults = Vec::new();
    let mut must = |good: bool, what: String| {
        if !good {
            faults.push(what);
        }
    };
    must(
        value.get("permissions").and_then(Value::as_mapping).is_some_and(Mapping::is_empty),
        "every job starts with rights".to_owned(),
    );
    must(value.get("concurrency").is_some(), "two of it may run at once".to_owned());
    must(
        !text.contains("pull_request_target") && !text.contains("workflow_run"),
        "strangers' code may run with rights".to_owned(),
    );
    must(
        !text.contains("push-to-registry"),
        "what is said of an image goes to a registry that nobody is signed in to then".to_owned(),
    );
    must(!text.contains("secrets."), "it holds a secret that does not end by itself".to_owned());
    for line in text
        .lines()
        .map(str::trim)
        .filter_map(|line| line.strip_prefix("- uses: ").or_else(|| line.strip_prefix("uses: ")))
    {
        let (action, comment) = line.split_once(" # ").unwrap_or((line, ""));
        let commit = action.rsplit('@').next().unwrap_or_default();
        let pinned = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        must(
            pinned && comment.starts_with('v'),
            format!("{line} is not pinned to a commit with its version beside it"),
        );
    }
    let jobs = value.get("jobs").and_then(Value::as_mapping).cloned().unwrap_or_default();
    must(!jobs.is_empty(), "it has no jobs".to_owned());
    for (name, job) in &jobs {
        let name = name.as_str().unwrap_or_default();
        must(job.get("timeout-minutes").is_some(), format!("{name} may run for ever"));
        let rights = job.get("permissions").and_then(Value::as_mapping).cloned().unwrap_or_default();
        let may = |right: &str| rights.get(right).and_then(Value::as_str) == Some("write");
        must(
            rights.get("contents").and_then(Value::as_str) == Some("read"),
            format!("{name} does not say that it only reads the code"),
        );
        must(!may("id-token") || NAMED.contains(&name), format!("{name} may speak in the workflow's name"));
        must(!may("packages") || ["build", "sign"].contains(&name), format!("{name} may change images"));
        let deploys = name == "staging" || name.starts_with("production");
        must(
            !deploys || job.get("environment").and_then(|place| place.get("name")?.as_str()) == Some(name),
            format!("{name} is bound to no environment"),
        );
        must(!deploys || job.get("concurrency").is_some(), format!("two may deploy to {name} at once"));
        let steps = job.get("steps").and_then(Value::as_sequence).cloned().unwrap_or_default();
        let uses = |step: &Value| step.get("uses").and_then(Value::as_str).unwrap_or_default().to_owned();
        must(
            steps.first().is_some_and(|step| uses(step).starts_with("step-security/harden-runner@")),
            format!("{name} does not watch what it connects to"),
        );
        for step in &steps {
            if uses(step).starts_with("actions/checkout@") {
                let kept = step
                    .get("with")
                    .and_then(|with| with.get("persist-credentials"))
                    .and_then(Value::as_bool);
                must(kept == Some(false), format!("{name} leaves its login in the checkout"));
            }
            if let Some(run) = step.get("run").and_then(Value::as_str) {
                must(
                    run.starts_with("deployment/release/") || run == ".ci/run",
                    format!("{name} runs {run:?}, which nobody can run elsewhere"),
                );
                must(!run.contains("${{"), format!("{name} writes a value of somebody's into a command"));
            }
        }
    }
    if jobs.contains_key("sign") {
        for (job, before) in ORDER {
            let needs = jobs.get(job).and_then(|job| job.get("needs")).cloned().unwrap_or_default();
            let needs: Vec<String> = match needs {
                Value::String(one) => vec![one],
                Value::Sequence(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Mapping(_) | Value::Tagged(_) => {
                    Vec::new()
                }
            };
            must(
                before.iter().all(|before| needs.iter().any(|need| need == before)),
                format!("{job} does not wait for {before:?}"),
            );
        }
    }
    Ok(faults)
}

fn files(dir: &Path, extension: &str) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(Failure::of(format!("list {}", dir.display())))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| file.extension().is_some_and(|is| is == extension))
        .collect();
    files.sort();
    Ok(files)
}

/// shellcheck, and what the workflows call is there and a program.
pub(crate) fn scripts() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        let root = root()?;
        let mut faults = Vec::new();
        let mut scripts = files(&root.join(SCRIPTS), "sh")?;
        scripts.extend(files(&root.join("deployment/compose"), "sh")?);
        scripts.extend(files(&root.join("deployment/compose/postgres"), "sh")?);
        let mut shellcheck = Command::new(installed("shellcheck", "shellcheck")?);
        shellcheck.args(["--external-sources", "--source-path=SCRIPTDIR"]).args(&scripts).current_dir(&root);
        faults.extend(refused(&mut shellcheck)?);
        for file in files(&root.join(WORKFLOWS), "yml")? {
            let text = fs::read_to_string(&file).map_err(Failure::of("read a workflow"))?;
            for word in text.split_whitespace().filter(|word| word.starts_with("deployment/release/")) {
                let mode = fs::metadata(root.join(word)).map_or(0, |data| data.permissions().mode());
                if mode & 0o111 == 0 {
                    faults.push(format!("{word} is no program"));
                }
            }
        }
        let scratch = Scratch::new("sbom")?;
        let sbom = scratch.path().join("sbom.json");
        faults.extend(refused(
            Command::new(root.join(SCRIPTS).join("sbom.sh")).arg(&sbom).env("CARGO_NET_OFFLINE", "true"),
        )?);
        let question = "([.components[] | select((.hashes | length) != 1 or (.licenses | length) != 1)] | length), (.components | length)";
        let answer = ask(Command::new("jq").args(["--compact-output", question]).arg(&sbom))?;
        let mut counts = answer.text.lines().filter_map(|line| line.parse::<u32>().ok());
        match (counts.next(), counts.next()) {
            (Some(0), Some(all)) if all > 100 => println!("  {all} packages in the program"),
            counts => faults.push(format!("packages without checksum or licence, and all: {counts:?}")),
        }
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

/// cargo-deny without a network: licences, doubles, sources.
pub(crate) fn dependencies() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        let deny = ask(Command::new("cargo").args(["deny", "--version"]))?;
        if !deny.well {
            return Err(Failure::new("cargo-deny is not there: cargo install --locked cargo-deny"));
        }
        let mut supply = Command::new(root()?.join(SCRIPTS).join("supply.sh"));
        Ok(refused(supply.env("OFFLINE", "1"))?.into_iter().collect())
    };
    checked(all().map_err(failed)?)
}

const IMAGE: &str =
    "ghcr.io/tradesense/tradesense@sha256:1111111111111111111111111111111111111111111111111111111111111111";
const BACKUP: &str = "ghcr.io/tradesense/tradesense-backup@sha256:4444444444444444444444444444444444444444444444444444444444444444";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The scripts among programs that write down what they were asked.
pub(crate) fn rehearsal() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        let stage = Stage::new()?;
        let mut faults = Vec::new();
        let mut must = |good: bool, what: String| {
            if !good {
                faults.push(what);
            }
        };
        let deploy = |stage: &Stage, place: &str, fails: &str| {
            let verdicts =
                if place == "staging" { "Healthy//new/new" } else { "Progressing//old/new,Paused//old/new" };
            stage.play("deploy.sh", &[place, IMAGE, BACKUP, COMMIT], fails, verdicts)
        };

        // Everything goes well: in this order, and nothing by a tag.
        let (said, asked) = deploy(&stage, "production-eu", "")?;
        must(said.well, format!("a good deployment: {}", said.text));
        let order = [
            "gh api repos/tradesense/tradesense/environments/production-eu",
            "cosign verify --",
            "cosign verify-attestation",
            "gh attestation verify oci://ghcr.io/tradesense/tradesense@",
            "cosign verify --",
            "cosign verify-attestation",
            "gh attestation verify oci://ghcr.io/tradesense/tradesense-backup@",
            "kubectl apply --server-side --field-manager=release",
            "kubectl --namespace tradesense wait backup/before-0123456789ab",
            "apply production-eu",
            "kubectl --namespace tradesense wait rollout/tradesense-api --for=jsonpath={.status.observedGeneration}=7",
            "kubectl --namespace tradesense get rollout/tradesense-api --output jsonpath={.status.phase}",
        ];
        must(in_order(&asked, &order), format!("the order is {asked:#?}"));
        let written =
            asked.iter().find(|line| line.starts_with("apply production-eu")).cloned().unwrap_or_default();
        must(
            written.matches("newName: ghcr.io/tradesense/tradesense digest: sha256:1111").count() == 1
                && written
                    .matches("newName: ghcr.io/tradesense/tradesense-backup digest: sha256:4444")
                    .count()
                    == 1
                && written.contains("revision=0123456789ab"),
            format!("what is applied names {written}"),
        );
        let (said, asked) = deploy(&stage, "staging", "")?;
        must(
            said.well && !asked.iter().any(|line| line.contains("backup/")),
            format!("staging: {}", said.text),
        );

        // Whoever is not ours never comes near a cluster.
        for step in [
            "cosign verify",
            "cosign verify-attestation",
            "gh attestation",
            "gh attestation verify oci://ghcr.io/tradesense/tradesense-backup@",
        ] {
            let (said, asked) = deploy(&stage, "production-eu", step)?;
            must(
                !said.well
                    && !asked.iter().any(|line| line.starts_with("kubectl") || line.starts_with("apply")),
                format!("after {step} failed: {asked:#?}"),
            );
        }
        // Nor where nobody has to say yes.
        for fails in ["gh api", "nobody has to say yes"] {
            let (said, asked) = deploy(&stage, "production-eu", fails)?;
            must(!said.well && asked.len() == 1, format!("without a reviewer: {asked:#?}"));
        }
        // Without a point to come back to, and without a schema, nothing starts.
        let (said, asked) = deploy(&stage, "production-eu", "kubectl --namespace tradesense wait backup/")?;
        must(
            !said.well && !asked.iter().any(|line| line.starts_with("apply ")),
            format!("after the backup failed: {asked:#?}"),
        );
        let (said, asked) = deploy(&stage, "production-eu", "apply production-eu")?;
        must(
            !said.well && !asked.iter().any(|line| line.contains("rollout/")),
            format!("after applying failed: {asked:#?}"),
        );
        // The first time there is nothing to come back to; a store of backups that does not answer is no such time.
        let (said, asked) = deploy(&stage, "production-eu", "no database yet")?;
        must(
            said.well && !asked.iter().any(|line| line.contains("backup/")),
            format!("the first deployment: {} {asked:#?}", said.text),
        );
        let (said, asked) = deploy(&stage, "production-eu", "kubectl --namespace tradesense get clusters")?;
        must(
            !said.well && !asked.iter().any(|line| line.starts_with("apply ")),
            format!("a cluster that is deaf: {asked:#?}"),
        );
        // What runs already, what was broken off, what fails again, and what never comes.
        for (verdicts, well, retries) in [
            ("Healthy//new/new", true, 0),
            ("Degraded/true/old/new,Progressing//old/new,Paused//old/new", true, 1),
            ("Degraded/true/old/new,Degraded/true/old/new", false, 1),
            ("Degraded//old/new", false, 0),
            ("Healthy//old/new", false, 0),
        ] {
            let args = ["production-eu", IMAGE, BACKUP, COMMIT];
            let (said, asked) = stage.play("deploy.sh", &args, "", verdicts)?;
            let tried = asked.iter().filter(|line| line.contains("\"abort\":false")).count();
            must(said.well == well && tried == retries, format!("at {verdicts}: {} {asked:#?}", said.text));
        }
        // The status of the release before says nothing.
        let seen = "kubectl --namespace tradesense wait rollout/tradesense-api --for=jsonpath={.status.observedGeneration}";
        let (said, asked) = deploy(&stage, "staging", seen)?;
        must(
            !said.well && !asked.iter().any(|line| line.contains(".status.phase")),
            format!("before the change was taken up: {asked:#?}"),
        );
        for wrong in [
            &["production-eu", "ghcr.io/tradesense/tradesense:1.0.0", BACKUP, COMMIT][..],
            &["production-eu", IMAGE, "ghcr.io/tradesense/tradesense-backup:1.0.0", COMMIT],
            &["production-eu", IMAGE, COMMIT],
            &["nowhere", IMAGE, BACKUP, COMMIT],
            &["../staging", IMAGE, BACKUP, COMMIT],
            &["staging", IMAGE, BACKUP, "v1; true"],
        ] {
            let (said, asked) = stage.play("deploy.sh", wrong, "", "")?;
            must(!said.well && asked.is_empty(), format!("{wrong:?}: {asked:?}"));
        }
        {
            let (said, asked) = stage.play("deploy.sh", &["dev", IMAGE, BACKUP, COMMIT], "", "")?;
            must(!said.well && asked.is_empty(), format!("dev: {asked:?}"));
        }

        // Promotion: the verdict decides.
        let finish = |fails: &str, verdicts: &str| {
            stage.play("finish.sh", &["production-eu", "https://app.tradesense.example"], fails, verdicts)
        };
        let (said, asked) =
            finish("", "Paused/old/new,Paused/old/new,Healthy Successful,Healthy Successful")?;
        must(said.well && !aborted(&asked), format!("a good promotion: {} {asked:#?}", said.text));
        must(
            asked.iter().filter(|line| line.contains("pauseConditions")).count() == 2,
            format!("promoted: {asked:#?}"),
        );
        // Again, when one of them, or both, are promoted already.
        for (verdicts, promoted) in
            [("Healthy/new/new,Paused/old/new,Healthy Successful", 1), ("Healthy/new/new,Healthy/new/new", 0)]
        {
            let (said, asked) = finish("", verdicts)?;
            let told = asked.iter().filter(|line| line.contains("pauseConditions")).count();
            must(said.well && told == promoted, format!("again at {verdicts}: {} {asked:#?}", said.text));
        }
        for (what, fails, verdicts) in [
            (
                "the burn of the error budget",
                "",
                "Paused/old/new,Paused/old/new,Healthy Running,Degraded Failed",
            ),
            ("a verdict that says nothing", "", "Paused/old/new,Paused/old/new,Healthy Inconclusive"),
            ("no verdict in time", "", "Paused/old/new,Paused/old/new,Healthy Running"),
            ("a smoke that fails", "curl", "Paused/old/new,Paused/old/new,Healthy Successful"),
            ("nothing to promote", "", "Progressing/old/new,Paused/old/new"),
            ("a release of before that is healthy", "", "Healthy/old/new,Paused/old/new"),
        ] {
            let (said, asked) = finish(fails, verdicts)?;
            must(!said.well && aborted(&asked), format!("after {what}: {} {asked:#?}", said.text));
        }

        // Back to the release before: brought there and promoted like any other.
        let back = ["production-eu", "https://app.tradesense.example", IMAGE, BACKUP, COMMIT];
        let good = "Paused//old/new,Paused//old/new,Paused/old/new,Paused/old/new,Healthy Successful,Healthy Successful";
        let (said, asked) = stage.play("rollback.sh", &back, "", good)?;
        must(
            said.well
                && in_order(
                    &asked,
                    &["cosign verify --", "apply production-eu", "kubectl --namespace tradesense patch"],
                )
                && !asked.iter().any(|line| line.contains("backup/")),
            format!("going back: {} {asked:#?}", said.text),
        );

        // Building and signing name digests only, of both images.
        let name = "ghcr.io/tradesense/tradesense";
        let out = stage.dir.path().join("digests").display().to_string();
        let (said, asked) = stage.play("build.sh", &[name, &out], "", "")?;
        let builds: Vec<&String> =
            asked.iter().filter(|line| line.starts_with("docker buildx build")).collect();
        must(
            said.well
                && builds.len() == 2
                && builds.iter().all(|line| {
                    line.contains("push-by-digest=true")
                        && line.contains("--builder tradesense-")
                        && line.contains("--provenance mode=max")
                        && !line.contains("latest")
                }),
            format!("building: {} {asked:#?}", said.text),
        );
        // Backups stand on the image that was built just before.
        let upon = format!("TRADESENSE_IMAGE={name}@sha256:3333");
        must(
            builds.last().is_some_and(|line| {
                line.contains(&upon) && line.contains("name=ghcr.io/tradesense/tradesense-backup,")
            }),
            format!("the image of backups: {builds:#?}"),
        );
        let (said, _) = stage.play("build.sh", &[name, &out], "docker buildx build", "")?;
        must(!said.well, "a build that failed goes on".to_owned());
        let output = stage.dir.path().join("output");
        let index = ["1.2.3", &out, &output.display().to_string()];
        let (said, asked) = stage.play("index.sh", &[name, index[0], index[1], index[2]], "", "")?;
        let digests = fs::read_to_string(&output).unwrap_or_default();
        must(
            said.well
                && digests.lines().count() == 2
                && digests.starts_with("digest=sha256:2222")
                && digests.contains("\nbackup=sha256:2222")
                && in_order(
                    &asked,
                    &[
                        "docker buildx imagetools create --tag ghcr.io/tradesense/tradesense:1.2.3",
                        "docker buildx imagetools create --tag ghcr.io/tradesense/tradesense-backup:1.2.3",
                    ],
                ),
            format!("the indexes: {} {digests}", said.text),
        );
        for fails in ["docker buildx imagetools create", "docker buildx imagetools inspect"] {
            let _absent = fs::remove_file(&output);
            let (said, _) = stage.play("index.sh", &[name, index[0], index[1], index[2]], fails, "")?;
            must(!said.well && !output.exists(), format!("after {fails} failed an index is named"));
        }
        fs::write(Path::new(&out).join("tradesense/digest-aarch64"), "sha256:".to_owned() + &"5".repeat(64))
            .map_err(Failure::of("write a digest"))?;
        let (said, _) = stage.play("index.sh", &[name, index[0], index[1], index[2]], "", "")?;
        must(!said.well && !output.exists(), "one image lacks a kind of processor".to_owned());
        let (said, asked) = stage.play("sign.sh", &["sbom", IMAGE, BACKUP], "", "")?;
        must(
            said.well && asked.len() == 4 && asked.iter().all(|line| line.contains("@sha256:")),
            format!("signing: {asked:#?}"),
        );
        let tag = "ghcr.io/tradesense/tradesense-backup:1.2.3";
        let (said, asked) = stage.play("sign.sh", &["sbom", IMAGE, tag], "", "")?;
        must(!said.well && asked.is_empty(), "a tag was signed".to_owned());
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

fn aborted(asked: &[String]) -> bool {
    asked.iter().filter(|line| line.contains("\"abort\":true")).count() == 2
}

fn in_order(asked: &[String], wanted: &[&str]) -> bool {
    let mut lines = asked.iter();
    wanted.iter().all(|start| lines.any(|line| line.starts_with(start)))
}

/// A directory with the fakes.
struct Stage {
    dir: Scratch,
}

impl Stage {
    fn new() -> Outcome<Self> {
        let dir = Scratch::new("rehearsal")?;
        let programs = dir.path().join("programs");
        fs::create_dir_all(&programs).map_err(Failure::of("create the fakes"))?;
        for name in ["cosign", "gh", "kubectl", "docker", "curl", "sleep"] {
            program(&programs.join(name), FAKE)?;
        }
        // The places of a cluster, as small as they can be; what is applied is written down with the image's lines.
        let tree = dir.path().join("kubernetes");
        for place in ["staging", "production-eu", "production-us"] {
            let common = tree.join("overlays").join(place).join("common");
            fs::create_dir_all(&common).map_err(Failure::of("create a place"))?;
            let real =
                root()?.join("deployment/kubernetes/overlays").join(place).join("common/kustomization.yaml");
            let text = fs::read_to_string(&real).map_err(Failure::of(format!("read {}", real.display())))?;
            fs::write(common.join("kustomization.yaml"), text).map_err(Failure::of("write a place"))?;
        }
        program(&tree.join("apply"), APPLY)?;
        Ok(Self { dir })
    }

    /// Runs a script and gives what it said, and what it asked others, a line each. Whoever's line starts with `fails` fails; the phases
    /// of rollouts are the `verdicts`, one after the other, the last one for ever.
    fn play(&self, script: &str, args: &[&str], fails: &str, verdicts: &str) -> Outcome<(Said, Vec<String>)> {
        let asked = self.dir.path().join("asked");
        fs::write(&asked, "").map_err(Failure::of("forget what was asked"))?;
        fs::write(self.dir.path().join("verdicts"), verdicts.replace(',', "\n"))
            .map_err(Failure::of("write the verdicts"))?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut command = Command::new(root()?.join(SCRIPTS).join(script));
        command
            .args(args)
            .env("PATH", format!("{}:{}", self.dir.path().join("programs").display(), path.display()));
        let env = BTreeMap::from([
            ("FAKES", self.dir.path().display().to_string()),
            ("FAILS", fails.to_owned()),
            ("GITHUB_REPOSITORY", "tradesense/tradesense".to_owned()),
            ("FINISH_SECONDS", "30".to_owned()),
            ("DEPLOY_SECONDS", "30".to_owned()),
            ("GITHUB_ACTIONS", "true".to_owned()),
            ("KUBERNETES_DIR", self.dir.path().join("kubernetes").display().to_string()),
        ]);
        let said = ask(command.envs(env))?;
        let text = fs::read_to_string(&asked).unwrap_or_default();
        Ok((said, text.lines().map(str::to_owned).collect()))
    }
}

fn program(file: &Path, text: &str) -> Outcome {
    fs::write(file, text).map_err(Failure::of(format!("write {}", file.display())))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).map_err(Failure::of("make a program"))
}

const FAKE: &str = r#"#!/bin/bash
line="$(basename "$0") $*"
[[ "$line" == curl* || "$line" == sleep* ]] || tr '\n' ' ' <<<"$line" | sed 's/ *$/\n/' >>"$FAKES/asked"
if [[ -n "$FAILS" && "$line" == "$FAILS"* ]]; then exit 1; fi
case "$line" in
"kubectl --namespace tradesense get rollout"*metadata.generation*) echo 7 ;;
"kubectl --namespace tradesense get clusters"*) [[ "$FAILS" == "no database yet" ]] || echo cluster/tradesense-db ;;
"gh api"*) [[ "$FAILS" == "nobody has to say yes" ]] && echo branch_policy || echo branch_policy required_reviewers ;;
"kubectl --namespace tradesense get rollout"*)
    head -n 1 "$FAKES/verdicts"
    if (($(wc -l <"$FAKES/verdicts") > 0)); then sed -i 1d "$FAKES/verdicts"; fi ;;
"docker buildx build"*)
    while (($# > 0)); do [[ "$1" != --metadata-file ]] || echo '{"containerimage.digest":"sha256:'"$(printf '3%.0s' {1..64})"'"}' >"$2"; shift; done ;;
"docker buildx imagetools inspect"*) echo '{"digest":"sha256:'"$(printf '2%.0s' {1..64})"'"}' ;;
curl*)
    while (($# > 0)); do
        case "$1" in
        --dump-header) printf 'strict-transport-security: x\ncontent-security-policy: x\nx-content-type-options: x\nx-request-id: x\n' >"$2" ;;
        --output) echo '{"name":"firm"}' >"$2" ;;
        */v1/firm | */v1/programs) printf 200 ;;
        */v1/me) printf 401 ;;
        https://*) printf 404 ;;
        esac
        shift
    done ;;
esac
"#;

const APPLY: &str = r#"#!/bin/bash
here=$(dirname "$0")
line="apply $1"
echo "$line $(grep -E '^ *(newName|digest):|revision=' "$here/overlays/$1/common/kustomization.yaml" | tr -s '\n ' ' ')" >>"$FAKES/asked"
[[ -z "$FAILS" || "$line" != "$FAILS"* ]]
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weakens_a_workflow_is_found() {
        let file =
            root().unwrap_or_else(|Failure(text)| panic!("{text}")).join(WORKFLOWS).join("release.yml");
        let text = fs::read_to_string(file).unwrap();
        let faults = |text: &str| said(text).unwrap_or_else(|Failure(text)| panic!("{text}"));
        assert_eq!(faults(&text), Vec::<String>::new());
        for (from, to) in [
            ("permissions: {}\n", "permissions: write-all\n"),
            ("@9c091bb21b7c1c1d1991bb908d89e4e9dddfe3e0 # v7.0.0", "@v7"),
            ("persist-credentials: false", "persist-credentials: true"),
            ("    needs: sign\n", "    needs: build\n"),
            ("    timeout-minutes: 15\n", ""),
            ("      name: production-eu\n", "      name: staging\n"),
            ("packages: read # reads signatures", "packages: write"),
            ("run: .ci/run", "run: curl -f https://app.tradesense.example/health"),
            ("github.token", "secrets.TOKEN"),
            (
                "  build:\n    name: Build for ${{ matrix.runner }}\n    needs: gate\n",
                "  build:\n    name: Build\n",
            ),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(!faults(&text.replacen(from, to, 1)).is_empty(), "{to}");
        }
    }
}
