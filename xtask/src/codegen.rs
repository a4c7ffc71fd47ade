//! `cargo xtask codegen`: the API description from the code, the typed client from the description.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::{Need, provide, root};
use crate::process::{cargo, output};
use crate::ui::Ui;
use crate::{Failure, Outcome, only_flag};

/// The files of `api/` and the command that prints each.
const PRINTED: [(&str, &[&str]); 5] = [
    ("openapi.json", &["openapi"]),
    ("topics.json", &["topics"]),
    ("analytics.openapi.json", &["openapi", "--analytics"]),
    ("program.schema.json", &["rules", "schema"]),
    ("examples.schema.json", &["rules", "schema", "--examples"]),
];

const ADVICE: &str = "run `cargo xtask codegen` and commit the result";

pub(crate) fn run(args: lexopt::Parser) -> Outcome {
    let check = only_flag(args, "check")?;
    provide(&[Need::Node])?;
    let root = root()?;
    let ui = Ui::ready(&root)?;
    if check { self::check(&root, &ui) } else { write(&root, &ui) }
}

/// Writes the files anew.
fn write(root: &Path, ui: &Ui) -> Outcome {
    let folder = root.join("api");
    fs::create_dir_all(&folder).map_err(Failure::of(format!("create {}", folder.display())))?;
    for (name, arguments) in PRINTED {
        let file = folder.join(name);
        fs::write(&file, printed(root, arguments)?)
            .map_err(Failure::of(format!("write {}", file.display())))?;
    }
    ui.script("codegen")
}

/// Fails where a file is out of date, and leaves every file as it was.
pub(crate) fn check(root: &Path, ui: &Ui) -> Outcome {
    for (name, arguments) in PRINTED {
        let file = root.join("api").join(name);
        let committed = fs::read(&file).map_err(Failure::of(format!("read {}", file.display())))?;
        if committed != printed(root, arguments)? {
            return Err(Failure::new(format!("api/{name} does not match the code; {ADVICE}")));
        }
    }
    let client = root.join("ui/src/api");
    let before = contents(&client)?;
    ui.script("codegen")?;
    let after = contents(&client)?;
    let changed: Vec<String> = before
        .keys()
        .chain(after.keys().filter(|file| !before.contains_key(*file)))
        .filter(|file| before.get(*file) != after.get(*file))
        .map(|file| file.strip_prefix(root).unwrap_or(file).display().to_string())
        .collect();
    for (file, bytes) in &before {
        if after.get(file) != Some(bytes) {
            fs::write(file, bytes).map_err(Failure::of(format!("restore {}", file.display())))?;
        }
    }
    for file in after.keys().filter(|file| !before.contains_key(*file)) {
        fs::remove_file(file).map_err(Failure::of(format!("remove {}", file.display())))?;
    }
    if changed.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(format!("{} do not match the descriptions in api/; {ADVICE}", changed.join(", "))))
    }
}

fn printed(root: &Path, arguments: &[&str]) -> Outcome<Vec<u8>> {
    output(cargo(root).args(["run", "--quiet", "--package", "tradesense", "--"]).args(arguments))
}

fn contents(dir: &Path) -> Outcome<BTreeMap<PathBuf, Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let read = || format!("read {}", folder.display());
        for entry in fs::read_dir(&folder).map_err(Failure::of(read()))? {
            let path = entry.map_err(Failure::of(read()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).map_err(Failure::of(format!("read {}", path.display())))?;
                all.insert(path, bytes);
            }
        }
    }
    Ok(all)
}
