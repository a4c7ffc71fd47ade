//! Every published example in `programs/conformance/` comes out as its page says, and the table of them in
//! `docs/conformance.md` is up to date.
//!
//! To write the table anew: `UPDATE_DOCS=1 cargo test -p rules --test conformance`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "the helpers of a test fail it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use rules::example::{Example, ExampleFile, check};
use rules::{Program, ProgramError};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files of a folder, by name.
fn files(folder: &str) -> Vec<(String, ExampleFile)> {
    let mut paths: Vec<_> =
        fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let file = ExampleFile::from_toml(&fs::read_to_string(path).unwrap())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, file)
        })
        .collect()
}

fn load(path: &str) -> Result<Program, ProgramError> {
    Program::from_toml(&fs::read_to_string(root().join("programs/conformance").join(path)).unwrap())
}

/// What each firm's page is about, by the examples' names.
fn expected_families() -> BTreeMap<&'static str, &'static str> {
    include_str!("families.txt")
        .lines()
        .map(|line| line.split_once(' ').expect("an id and a family on each line"))
        .collect()
}

#[test]
fn every_published_example_comes_out_as_its_page_says() {
    let mut wrong = Vec::new();
    for (name, file) in files("programs/conformance") {
        match check(&file, &load) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(checked) => {
                for (example, id) in file.examples.iter().map(|example| (example, &example.id)) {
                    let expects = example.steps.iter().any(|step| !step.expect.is_empty());
                    assert!(expects, "{name}: {id} expects nothing");
                }
                wrong.extend(checked.iter().filter(|it| !it.holds).map(|it| {
                    format!(
                        "{name}: {} step {}: {} is {}, not {}",
                        it.example, it.step, it.name, it.found, it.expected
                    )
                }));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_published_example_is_there_once_and_an_ambiguous_one_once_for_each_reading() {
    let mut seen: BTreeMap<String, Vec<Example>> = BTreeMap::new();
    for (name, file) in files("programs/conformance") {
        for mut example in file.examples {
            example.firm = example.firm.or_else(|| file.firm.clone());
            example.source = example.source.or_else(|| file.source.clone());
            let ours = example.note.as_deref().is_some_and(|note| note.starts_with("Our own numbers"));
            if ours {
                assert!(example.firm.is_none(), "{name}: {} is ours and no firm's", example.id);
                continue;
            }
            assert!(example.firm.is_some() && example.source.is_some(), "{name}: {} has no page", example.id);
            seen.entry(example.id.clone()).or_default().push(example);
        }
    }
    let expected = expected_families();
    let names: BTreeSet<_> = seen.keys().map(String::as_str).collect();
    assert_eq!(names, expected.keys().copied().collect::<BTreeSet<_>>());
    for (id, examples) in &seen {
        let readings: BTreeSet<_> = examples.iter().map(|example| example.reading.clone()).collect();
        assert_eq!(readings.len(), examples.len(), "{id} is there twice with one reading");
        assert_eq!(examples.len() > 1, ["APEX-SCALE-01", "BTF-LOT-01"].contains(&id.as_str()), "{id}");
        for example in examples {
            assert_eq!(example.family.as_deref(), expected.get(id.as_str()).copied(), "{id}");
        }
    }
}

/// The table of `docs/conformance.md`.
fn table() -> String {
    #[derive(Default)]
    struct Row {
        examples: BTreeSet<String>,
        firms: BTreeSet<String>,
        expectations: usize,
        ours: usize,
    }
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (_, file) in files("programs/conformance") {
        for example in &file.examples {
            let row = rows.entry(example.family.clone().expect("a family")).or_default();
            let alone = ExampleFile { examples: vec![example.clone()], ..file.clone() };
            row.expectations += check(&alone, &load).unwrap().len();
            match example.firm.as_ref().or(file.firm.as_ref()) {
                Some(firm) => {
                    row.firms.insert(firm.split(" (").next().unwrap_or_default().to_owned());
                    row.examples.insert(example.id.clone());
                }
                None => row.ours += 1,
            }
        }
    }
    let mut text = String::from(
        "# Published examples that the rules reproduce\n\n\
         Generated by `UPDATE_DOCS=1 cargo test -p rules --test conformance` from `programs/conformance/`, where each example \
         names its page. Every expectation holds to the cent; `tradesense rules check programs/conformance/*.toml` shows them. \
         \"Own\" counts examples with numbers of our own, for kinds of rules without a published example here.\n\n\
         | Kind of rule | Examples | Own | Expectations | Firms |\n| --- | ---: | ---: | ---: | --- |\n",
    );
    let (mut published, mut ours, mut expectations) = (0, 0, 0);
    for (family, row) in &rows {
        let firms: Vec<_> = row.firms.iter().map(String::as_str).collect();
        let firms = firms.join(", ");
        let count = row.examples.len();
        writeln!(text, "| `{family}` | {count} | {} | {} | {firms} |", row.ours, row.expectations).unwrap();
        published += count;
        ours += row.ours;
        expectations += row.expectations;
    }
    writeln!(text, "| all {} kinds | {published} | {ours} | {expectations} | |", rows.len()).unwrap();
    text
}

#[test]
fn the_table_in_the_docs_is_up_to_date() {
    let path = root().join("docs/conformance.md");
    let table = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written, table,
        "docs/conformance.md is old: UPDATE_DOCS=1 cargo test -p rules --test conformance"
    );
}
