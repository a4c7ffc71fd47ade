//! The guide, the templates and the programs that are shipped say what the crate does.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail it")]

use std::fs;
use std::path::{Path, PathBuf};

use rules::example::{ExampleFile, check};
use rules::{Program, ProgramError, Rule, difference};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn guide() -> String {
    fs::read_to_string(root().join("docs/guides/write-a-program.md")).unwrap()
}

fn load(path: &str) -> Result<Program, ProgramError> {
    Program::from_toml(&fs::read_to_string(root().join("programs").join(path)).unwrap())
}

/// Every `*.toml` of a folder.
fn programs(folder: &str) -> Vec<(String, Program)> {
    let mut paths: Vec<_> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let program = Program::from_toml(&fs::read_to_string(&path).unwrap());
        (name.clone(), program.unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_block_of_the_guide_is_read_and_every_expectation_in_it_holds() {
    let guide = guide();
    let blocks: Vec<_> =
        guide.split("```toml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        if block.contains("[[example]]") {
            let file = ExampleFile::from_toml(&block).unwrap_or_else(|error| panic!("{error}\n{block}"));
            for checked in check(&file, &load).unwrap_or_else(|error| panic!("{error}\n{block}")) {
                assert!(checked.holds, "{checked:?}");
            }
        } else {
            Program::from_toml(&block).unwrap_or_else(|error| panic!("{error}\n{block}"));
        }
    }
}

/// Every name of a setting, and every word that a setting can be, in a schema.
fn names(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        found.extend(properties.keys().cloned());
                    }
                    ("const", Value::String(word)) => found.push(word.clone()),
                    ("enum", Value::Array(words)) => {
                        found.extend(words.iter().filter_map(|word| word.as_str().map(str::to_owned)));
                    }
                    (_, _) => {}
                }
                names(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_guide_names_every_setting_and_every_word_of_the_schema() {
    let guide = guide();
    let mut found: Vec<_> = Rule::KINDS.iter().map(|kind| (*kind).to_owned()).collect();
    names(&Program::schema(), &mut found);
    names(&ExampleFile::schema(), &mut found);
    found.sort();
    found.dedup();
    let words: std::collections::BTreeSet<_> =
        guide.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').collect();
    let missing: Vec<_> = found.iter().filter(|name| !words.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "the guide does not name {missing:?}");
}

#[test]
fn every_program_and_every_template_is_sound_and_explains_itself() {
    let shipped = programs("programs");
    assert_eq!(shipped.len(), 4);
    let templates = programs("programs/templates");
    assert!(templates.len() >= 8);
    for (name, program) in shipped.iter().chain(&templates) {
        for phase in &program.phases {
            let sentences = phase.sentences(&program.words());
            assert!(sentences.len() >= phase.rules.len(), "{name}");
            for sentence in &sentences {
                assert!(sentence.ends_with('.') && !sentence.contains("  "), "{name}: {sentence}");
            }
        }
        assert!(difference(program, program).is_empty());
        assert_eq!(&Program::from_json(&program.canonical_json().unwrap()).unwrap(), program);
    }
    for (index, (name, program)) in templates.iter().enumerate() {
        let text = fs::read_to_string(root().join("programs/templates").join(name)).unwrap();
        assert!(text.starts_with("# Unverified, check with the firm"), "{name}");
        for (_, other) in &templates[index + 1..] {
            assert!(!difference(program, other).is_empty());
        }
    }
}

/// The meaning of the programs that are shipped: what is on offer does not change by the way.
#[test]
fn the_programs_that_are_shipped_keep_their_meaning() {
    for (name, program) in programs("programs") {
        let phase = &program.phases[0];
        let kinds: Vec<_> = phase.rules.iter().map(Rule::kind).collect();
        let expected: &[&str] = match name.as_str() {
            "two-step-100k.toml" => {
                &["daily_loss", "max_loss", "profit_target", "min_trading_days", "inactivity"]
            }
            _ => &["daily_loss", "max_loss", "profit_target", "min_trading_days", "calendar_limit"],
        };
        assert_eq!(kinds, expected, "{name}");
        let firsts = phase.rules[0].sentence(&program.words());
        let text = match name.as_str() {
            "two-step-100k.toml" => {
                "5% of the initial balance (5,000.00 USD), measured from the balance at the reset"
            }
            "one-step-50k.toml" => "4% of the higher of balance and equity at the reset",
            _ => "2% of the initial balance (500.00 USD), measured from the equity at the reset",
        };
        assert!(firsts.contains(text), "{name}: {firsts}");
    }
}

/// What of a document does not fit a schema; as much of JSON Schema as ours need.
fn misfits(root: &Value, schema: &Value, document: &Value, path: &str) -> Vec<String> {
    let Value::Object(schema) = schema else {
        let refused = *schema == Value::Bool(false);
        return if refused { vec![format!("{path}: not allowed")] } else { Vec::new() };
    };
    let mut misfits_here = Vec::new();
    let mut fits = |holds: bool, say: &str| {
        if !holds {
            misfits_here.push(format!("{path}: {say}"));
        }
    };
    let kind = match document {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let mut deeper = Vec::new();
    let among = |schemas: &[Value]| {
        schemas.iter().filter(|schema| misfits(root, schema, document, path).is_empty()).count()
    };
    for (key, value) in schema {
        match (key.as_str(), value, document) {
            ("$ref", Value::String(target), _) => {
                let target = root.pointer(target.trim_start_matches('#')).unwrap();
                deeper.extend(misfits(root, target, document, path));
            }
            ("type", Value::String(wanted), _) => fits(wanted == kind, wanted),
            ("type", Value::Array(wanted), _) => fits(wanted.iter().any(|it| it == kind), "type"),
            ("const", wanted, _) => fits(wanted == document, "const"),
            ("enum", Value::Array(wanted), _) => fits(wanted.contains(document), "enum"),
            ("oneOf", Value::Array(schemas), _) => fits(among(schemas) == 1, "exactly one"),
            ("anyOf", Value::Array(schemas), _) => fits(among(schemas) >= 1, "at least one"),
            ("required", Value::Array(names), Value::Object(fields)) => {
                fits(names.iter().all(|name| fields.contains_key(name.as_str().unwrap())), "required");
            }
            ("items", items, Value::Array(values)) => {
                let at = |(index, value)| misfits(root, items, value, &format!("{path}[{index}]"));
                deeper.extend(values.iter().enumerate().flat_map(at));
            }
            ("properties", Value::Object(properties), Value::Object(fields)) => {
                for (name, value) in fields {
                    let other = schema.get("additionalProperties").unwrap_or(&Value::Bool(true));
                    let schema = properties.get(name).unwrap_or(other);
                    deeper.extend(misfits(root, schema, value, &format!("{path}.{name}")));
                }
            }
            (_, _, _) => {}
        }
    }
    misfits_here.extend(deeper);
    misfits_here
}

/// Every `*.toml` of a folder as plain data.
fn documents(folder: &str) -> Vec<Value> {
    let paths = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.map(|path| toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()).collect()
}

#[test]
fn the_schemas_accept_every_file_that_is_shipped_and_refuse_what_nobody_knows() {
    let (program, example) = (Program::schema(), ExampleFile::schema());
    let mut documents_of_programs = documents("programs");
    documents_of_programs.extend(documents("programs/templates"));
    for document in &mut documents_of_programs {
        assert_eq!(misfits(&program, &program, document, ""), [""; 0]);
        document["phases"][0]["rules"][0]["maybe"] = Value::from(1);
        assert!(!misfits(&program, &program, document, "").is_empty());
    }
    for document in &mut documents("programs/conformance") {
        assert_eq!(misfits(&example, &example, document, ""), [""; 0]);
        document["example"][0]["step"][0]["maybe"] = Value::from(1);
        assert!(!misfits(&example, &example, document, "").is_empty());
    }
}
