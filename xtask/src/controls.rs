//! The control map: what frameworks ask for, how it is met, and which tests show it.
//!
//! `docs/compliance` has a file for each framework. `cargo xtask controls` checks that every path and test in them is there;
//! the gate checks besides, from what its own test programs said, that every one of these tests ran and passed.
//!
//! A test is written `PATH: NAME`. What `cargo test` prints has no path, so a Rust test counts as run when as many tests of its
//! name passed as there are in the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::machine::root;
use crate::{Failure, Outcome, only_flag};

const FOLDER: &str = "docs/compliance";
const FRAMEWORKS: [&str; 4] = ["soc2.toml", "asvs.toml", "pci.toml", "gdpr.toml"];
const JOURNEY: &str = "ui/e2e/journey.mjs";

/// One framework.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Framework {
    title: String,
    control: Vec<Control>,
}

/// One requirement of a framework.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Control {
    id: String,
    /// Where the framework has levels.
    level: Option<u8>,
    /// What it asks for, in our words.
    asks: String,
    state: State,
    /// How it is met; what the firm has to do; why it does not apply.
    how: Option<String>,
    /// What is not there.
    lacks: Option<String>,
    /// Where that is to be built.
    planned: Option<String>,
    #[serde(default)]
    code: Vec<String>,
    #[serde(default)]
    tests: Vec<String>,
    /// What an auditor can run.
    command: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Met,
    Partly,
    Operator,
    NotYet,
    NotApplicable,
}

impl State {
    const ALL: [Self; 5] = [Self::Met, Self::Partly, Self::Operator, Self::NotYet, Self::NotApplicable];
}

/// `cargo xtask controls`: the counts and what is missing.
pub(crate) fn run(args: lexopt::Parser) -> Outcome {
    let gaps = only_flag(args, "gaps")?;
    let root = root()?;
    let frameworks = read(&root)?;
    print!("{}", table(&frameworks));
    for Control { id, asks, lacks, planned, .. } in frameworks.iter().flat_map(|it| &it.control) {
        if let Some(lacks) = lacks.as_ref().filter(|_| gaps) {
            println!("\n{id}: {asks}\n    lacks: {lacks} ({})", planned.as_deref().unwrap_or("not planned"));
        }
    }
    check(&root)
}

/// Whether every entry is complete and everything that it names is there.
pub(crate) fn check(root: &Path) -> Outcome {
    let frameworks = read(root)?;
    let mut faults = faults(&frameworks, root, &Sources::read(root)?);
    let readme = root.join(FOLDER).join("README.md");
    let text = fs::read_to_string(&readme).map_err(Failure::of(format!("read {}", readme.display())))?;
    if !text.contains(&table(&frameworks)) {
        faults.push(format!("{FOLDER}/README.md has other counts than `cargo xtask controls` prints"));
    }
    none(&faults)
}

/// Whether every test of the map ran and passed.
pub(crate) fn check_ran(root: &Path, ran: &Ran) -> Outcome {
    none(&not_run(&read(root)?, &Sources::read(root)?, ran))
}

fn none(faults: &[String]) -> Outcome {
    if faults.is_empty() { Ok(()) } else { Err(Failure::new(faults.join("\n"))) }
}

fn read(root: &Path) -> Outcome<Vec<Framework>> {
    let read = |name: &&str| {
        let file = root.join(FOLDER).join(name);
        let doing = || format!("read {}", file.display());
        let text = fs::read_to_string(&file).map_err(Failure::of(doing()))?;
        toml::from_str(&text).map_err(Failure::of(doing()))
    };
    FRAMEWORKS.iter().map(read).collect()
}

/// How many requirements of each framework and level are in which state, as the README shows it.
fn table(frameworks: &[Framework]) -> String {
    let head = [
        "| framework | met | partly | operator | not yet | not applicable | all |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ];
    let rows = frameworks.iter().flat_map(Framework::rows);
    let mut lines: Vec<String> = head.map(str::to_owned).into_iter().chain(rows).collect();
    lines.push(String::new());
    lines.join("\n")
}

impl Framework {
    fn rows(&self) -> Vec<String> {
        let levels: BTreeSet<Option<u8>> = self.control.iter().map(|control| control.level).collect();
        let row = |level: Option<u8>| {
            let controls: Vec<&Control> =
                self.control.iter().filter(|control| control.level == level).collect();
            let level = level.map(|level| format!(", level {level}")).unwrap_or_default();
            let of = |state: State| controls.iter().filter(|it| it.state == state).count().to_string();
            format!("| {}{level} | {} | {} |", self.title, State::ALL.map(of).join(" | "), controls.len())
        };
        levels.into_iter().map(row).collect()
    }
}

fn faults(frameworks: &[Framework], root: &Path, sources: &Sources) -> Vec<String> {
    let mut faults = Vec::new();
    let mut ids = BTreeSet::new();
    for control in frameworks.iter().flat_map(|framework| &framework.control) {
        let mut fault = |say: String| faults.push(format!("{}: {say}", control.id));
        if !ids.insert(&control.id) {
            fault("stands twice".to_owned());
        }
        for say in control.incomplete() {
            fault(say.to_owned());
        }
        for path in control.code.iter().filter(|path| !root.join(path).exists()) {
            fault(format!("there is no {path}"));
        }
        for test in control.tests.iter().filter(|test| !sources.has(root, test)) {
            fault(format!("there is no test {test}"));
        }
    }
    faults
}

fn not_run(frameworks: &[Framework], sources: &Sources, ran: &Ran) -> Vec<String> {
    let mut faults = Vec::new();
    for control in frameworks.iter().flat_map(|framework| &framework.control) {
        for test in control.tests.iter().filter(|test| !ran.has(sources, test)) {
            faults.push(format!("{}: the test {test} did not run and pass", control.id));
        }
    }
    faults
}

impl Control {
    /// What an entry in this state must say or may not say.
    fn incomplete(&self) -> Vec<&'static str> {
        let Self { how, lacks, planned, code, tests, command, .. } = self;
        let shown = !tests.is_empty() || command.is_some();
        let rules: &[(bool, &'static str)] = match self.state {
            State::Met => &[
                (how.is_some(), "is met: say how"),
                (lacks.is_none() && planned.is_none(), "is met, so nothing lacks"),
                (!code.is_empty(), "is met: say where"),
                (shown, "is met: name a test or a command that shows it"),
            ],
            State::Partly => &[
                (how.is_some(), "is partly met: say how"),
                (lacks.is_some(), "is partly met: say what lacks"),
                (!code.is_empty(), "is partly met: say where"),
            ],
            State::NotYet => &[
                (lacks.is_some(), "is not met yet: say what lacks"),
                (planned.is_some(), "is not met yet: name the issue"),
                (how.is_none() && !shown, "is not met yet, so nothing shows it"),
            ],
            State::Operator => &[
                (how.is_some(), "is the operator's: say what is to be done"),
                (lacks.is_none() && planned.is_none(), "is the operator's, so nothing is planned"),
            ],
            State::NotApplicable => &[
                (how.is_some(), "does not apply: say why"),
                (lacks.is_none() && planned.is_none() && !shown, "does not apply, so nothing shows it"),
            ],
        };
        rules.iter().filter(|(kept, _)| !kept).map(|(_, say)| *say).collect()
    }
}

/// `PATH: NAME`.
fn parts(test: &str) -> (&str, &str) {
    test.split_once(": ").unwrap_or((test, ""))
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// The Rust tests in the sources: the files of each name.
#[derive(Debug, Default)]
struct Sources(BTreeMap<String, Vec<PathBuf>>);

impl Sources {
    fn read(root: &Path) -> Outcome<Self> {
        let mut sources = Self::default();
        let mut folders = vec![root.join("crates"), root.join("xtask")];
        while let Some(folder) = folders.pop() {
            let doing = || Failure::of(format!("read {}", folder.display()));
            for entry in fs::read_dir(&folder).map_err(doing())? {
                let path = entry.map_err(doing())?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path).map_err(doing())?;
                    sources.add(path.strip_prefix(root).unwrap_or(&path), &text);
                }
            }
        }
        Ok(sources)
    }

    fn add(&mut self, file: &Path, text: &str) {
        let mut marked = false;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
            if line == "#[test]" || line.starts_with("#[tokio::test") {
                marked = true;
            } else if let Some((_, after)) = line.split_once("fn ")
                && std::mem::take(&mut marked)
            {
                let name = after.split(['(', '<']).next().unwrap_or_default();
                self.0.entry(name.to_owned()).or_default().push(file.to_owned());
            }
        }
    }

    /// How many tests have this name.
    fn of_name(&self, name: &str) -> usize {
        self.0.get(name).map_or(0, Vec::len)
    }

    fn has(&self, root: &Path, test: &str) -> bool {
        let (path, name) = parts(test);
        if is_rust(path) {
            return self.0.get(name).is_some_and(|files| files.iter().any(|file| file == Path::new(path)));
        }
        let quoted = format!("\"{name}\"");
        !name.is_empty() && fs::read_to_string(root.join(path)).is_ok_and(|text| text.contains(&quoted))
    }
}

/// The tests that passed in a run, read from what the test programs print.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    /// By name: `cargo test` tells no more.
    rust: BTreeMap<String, usize>,
    /// Path and name.
    scripts: BTreeSet<(String, String)>,
}

impl Ran {
    /// `test identity::limiter::tests::memory_is_bounded ... ok` of cargo.
    pub(crate) fn cargo(&mut self, line: &str) {
        let name = || {
            let said = line.trim_end().strip_suffix(" ... ok")?;
            said.rsplit_once("test ")?.1.split_whitespace().next()?.rsplit("::").next()
        };
        if let Some(name) = name() {
            let passed = self.rust.entry(name.to_owned()).or_default();
            *passed = passed.saturating_add(1);
        }
    }

    /// ` ✓ src/lib/format.test.ts > times > counts down 2ms` of vitest's reporter `verbose`.
    pub(crate) fn vitest(&mut self, line: &str) {
        let Some(said) = line.trim().strip_prefix('✓').map(str::trim_start) else { return };
        let (Some((path, _)), Some((_, name))) = (said.split_once(" > "), said.rsplit_once(" > ")) else {
            return;
        };
        let is_time = |word: &str| {
            let number = word.strip_suffix("ms").unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        };
        let name = match name.rsplit_once(' ') {
            Some((name, time)) if is_time(time) => name.trim_end(),
            _ => name,
        };
        self.scripts.insert((format!("ui/{path}"), name.to_owned()));
    }

    /// `ok    the newcomer signs up` of the journey.
    pub(crate) fn journey(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("ok ") {
            self.scripts.insert((JOURNEY.to_owned(), name.trim().to_owned()));
        }
    }

    fn has(&self, sources: &Sources, test: &str) -> bool {
        let (path, name) = parts(test);
        if is_rust(path) {
            let (passed, there) = (self.rust.get(name).copied().unwrap_or_default(), sources.of_name(name));
            return there > 0 && passed >= there;
        }
        self.scripts.contains(&(path.to_owned(), name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MET: &str =
        "title = 'T'\n[[control]]\nid = 'T1'\nasks = 'a'\nstate = 'met'\nhow = 'h'\ncode = ['xtask/src']\n";
    const TEST: &str = "crates/a/tests/a.rs: it_holds";

    fn framework(text: &str) -> Framework {
        toml::from_str(text).unwrap()
    }

    fn with_test(test: &str) -> [Framework; 1] {
        [framework(&format!("{MET}tests = ['{test}']\n"))]
    }

    fn sources(files: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::default();
        for (file, text) in files {
            sources.add(Path::new(file), text);
        }
        sources
    }

    fn repository() -> PathBuf {
        root().unwrap_or_else(|Failure(text)| panic!("{text}"))
    }

    #[test]
    fn the_map_of_this_repository_names_only_what_is_there() {
        check(&repository()).unwrap_or_else(|Failure(text)| panic!("{text}"));
    }

    #[test]
    fn a_map_with_a_test_or_a_path_that_is_not_there_is_refused() {
        let there = sources(&[("crates/a/tests/a.rs", "#[test]\nfn it_holds() {}\nfn helps() {}\n")]);
        assert!(faults(&with_test(TEST), &repository(), &there).is_empty());
        for wrong in [
            "crates/a/tests/a.rs: it_fails",
            "crates/a/tests/a.rs: helps",
            "crates/b/tests/a.rs: it_holds",
            "crates/a/tests/a.rs",
            "ui/e2e/journey.mjs: nobody checks this",
        ] {
            let found = faults(&with_test(wrong), &repository(), &there);
            assert_eq!(found, [format!("T1: there is no test {wrong}")]);
        }
        let nowhere = framework(&format!("{}command = 'c'\n", MET.replace("xtask/src", "xtask/nowhere")));
        assert_eq!(faults(&[nowhere], &repository(), &there), ["T1: there is no xtask/nowhere"]);
    }

    #[test]
    fn a_test_that_did_not_run_is_refused_and_named_with_its_control() {
        let there = sources(&[("crates/a/tests/a.rs", "#[tokio::test]\nasync fn it_holds() {}\n")]);
        let mut ran = Ran::default();
        ran.cargo("test it_fails ... ok");
        ran.cargo("test it_holds ... FAILED");
        ran.cargo("test it_holds ... ignored");
        let map = with_test(TEST);
        let refused = [format!("T1: the test {TEST} did not run and pass")];
        assert_eq!(not_run(&map, &there, &ran), refused);
        ran.cargo("test tests::it_holds ... ok");
        assert!(not_run(&map, &there, &ran).is_empty());
        // Another test of this name, which did not run: nobody can tell which of the two did.
        let two = sources(&[
            ("crates/a/tests/a.rs", "#[test]\nfn it_holds() {}"),
            ("b.rs", "#[test]\nfn it_holds() {}"),
        ]);
        assert_eq!(not_run(&map, &two, &ran), refused);
        ran.cargo("test it_holds ... ok");
        assert!(not_run(&map, &two, &ran).is_empty());
    }

    #[test]
    fn what_vitest_and_the_journey_print_is_read() {
        let mut ran = Ran::default();
        ran.vitest(" ✓ src/lib/format.test.ts > times > counts down and stops at zero 2ms");
        ran.vitest(" ✓ src/lib/format.test.ts > says 5 > 4");
        ran.vitest(" × src/lib/format.test.ts > fails 1ms");
        ran.journey("ok    paying opens an account");
        ran.journey("FAIL  my challenges lead to the account");
        let none = Sources::default();
        assert!(ran.has(&none, "ui/src/lib/format.test.ts: counts down and stops at zero"));
        assert!(ran.has(&none, "ui/e2e/journey.mjs: paying opens an account"));
        assert!(!ran.has(&none, "ui/src/lib/format.test.ts: fails"));
        assert!(!ran.has(&none, "ui/src/lib/decimal.test.ts: counts down and stops at zero"));
        assert!(!ran.has(&none, "ui/e2e/journey.mjs: my challenges lead to the account"));
    }

    #[test]
    fn ids_stand_once_and_unknown_fields_and_states_are_refused() {
        let map = framework(&format!("{MET}command = 'c'\n"));
        let again = framework(&format!("{MET}command = 'c'\n"));
        assert_eq!(faults(&[map, again], &repository(), &Sources::default()), ["T1: stands twice"]);
        for wrong in
            [format!("{MET}test = ['x']\n"), MET.replace("'met'", "'done'"), MET.replace("asks", "ask")]
        {
            assert!(toml::from_str::<Framework>(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_state_says_what_it_has_to() {
        let say = |state: &str, more: &str| {
            let text = format!("title = 'T'\n[[control]]\nid = 'T1'\nasks = 'a'\nstate = '{state}'\n{more}");
            framework(&text).control.iter().flat_map(Control::incomplete).collect::<Vec<_>>()
        };
        assert_eq!(say("met", "how = 'h'\ncode = ['c']"), ["is met: name a test or a command that shows it"]);
        assert_eq!(say("partly", "how = 'h'\ncode = ['c']"), ["is partly met: say what lacks"]);
        assert_eq!(say("not-yet", "lacks = 'l'"), ["is not met yet: name the issue"]);
        assert_eq!(say("operator", ""), ["is the operator's: say what is to be done"]);
        assert_eq!(say("not-applicable", ""), ["does not apply: say why"]);
        assert!(say("not-yet", "lacks = 'l'\nplanned = 'issue 8'").is_empty());
    }

    #[test]
    fn the_table_counts_each_state_by_level() {
        let text = table(&with_test(TEST));
        assert!(text.ends_with("| T | 1 | 0 | 0 | 0 | 0 | 1 |\n"), "{text}");
        let level = "\n[[control]]\nid = 'T2'\nlevel = 2\nasks = 'a'\nstate = 'operator'\nhow = 'h'\n";
        let text = table(&[framework(&format!("{MET}command = 'c'\n{level}"))]);
        let rows = "| T | 1 | 0 | 0 | 0 | 0 | 1 |\n| T, level 2 | 0 | 0 | 1 | 0 | 0 | 1 |\n";
        assert!(text.ends_with(rows), "{text}");
    }
}
