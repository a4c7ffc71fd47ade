//! What every file of the tree must keep, whoever wrote it.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The files that git tracks or would add, with their text; binary files and lock files are left out.
fn texts() -> Vec<(String, String)> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let names = String::from_utf8(out.stdout).unwrap();
    let texts: Vec<(String, String)> = names
        .split_terminator('\0')
        .filter(|name| !name.ends_with("Cargo.lock") && !name.ends_with("package-lock.json"))
        // This file names what it looks for.
        .filter(|name| *name != "xtask/tests/tidy.rs")
        .filter_map(|name| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?)))
        .collect();
    assert!(texts.len() > 20, "the tree was not read");
    texts
}

/// Every line that holds one of the words, with its file and number.
fn lines_with(words: &[&str], of_interest: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in texts().iter().filter(|(name, _)| of_interest(name)) {
        for (number, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

fn is_rust(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "rs")
}

#[test]
fn no_file_names_a_machine_or_a_package_registry() {
    let places = ["/work/", "/tmp/ts", "/root/.", "/home/"];
    none(&lines_with(&places, |name| !name.starts_with("xtask/src/bare.rs")), "paths of one machine");
    let hosts = [
        "registry.npmjs.org",
        "registry.yarnpkg.com",
        "crates.io/",
        "static.crates.io",
        "pypi.org",
        "deb.debian.org",
        "proxy.golang.org",
    ];
    none(&lines_with(&hosts, |_| true), "package registries");
}

#[test]
fn lock_files_name_no_registry_of_a_machine() {
    let lock = root().join("ui/package-lock.json");
    if let Ok(text) = fs::read_to_string(lock) {
        assert!(
            !text.contains("\"resolved\": \"http"),
            "ui/package-lock.json: npm install --omit-lockfile-registry-resolved"
        );
    }
}

#[test]
fn nothing_is_left_to_do_and_no_test_is_switched_off() {
    none(&lines_with(&["todo!", "unimplemented!", "#[ignore"], is_rust), "unfinished or switched off");
    let script = |name: &str| [".ts", ".tsx", ".mjs"].iter().any(|end| name.ends_with(end));
    let off =
        ["it.skip(", "test.skip(", "describe.skip(", "it.only(", "test.only(", "describe.only(", "it.todo("];
    none(&lines_with(&off, script), "switched-off tests");
    none(&lines_with(&["TODO", "FIXME"], |name| is_rust(name) || script(name)), "notes of unfinished work");
}

#[test]
fn every_crate_has_a_front_page() {
    let bare: Vec<String> = texts()
        .into_iter()
        .filter(|(name, _)| name.ends_with("src/lib.rs") || name == "xtask/src/main.rs")
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(name, _)| name)
        .collect();
    none(&bare, "without a front page (`//!`)");
}
