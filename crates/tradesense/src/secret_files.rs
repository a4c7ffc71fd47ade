//! Secrets that are told in files. Beside each environment variable that holds a secret stands one with `_FILE` after its name,
//! which names a file that holds it: `DATABASE_URL_FILE=/run/secrets/database_url`. A file is not inherited by other programs and
//! not shown by whoever lists processes or containers.
//!
//! Which variables hold secrets is known from the command line's own description: those whose values its help hides.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Command;

use crate::rotation;

/// After the name of a variable.
const FILE: &str = "_FILE";

/// The arguments of this process, with what is said in files. What is said on the command line wins; a variable and its file
/// contradict each other.
pub fn with_files(
    command: &Command,
    mut args: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Vec<OsString>> {
    let (command, words) = called(command, &args);
    let mut said = Vec::new();
    for (name, long, named) in secrets_of(command) {
        let Some(file) = variable(&named) else { continue };
        ensure!(variable(name).is_none(), "both {name} and {named} are set: leave one out");
        let option = format!("--{long}");
        let is_said = |argument: &OsString| {
            argument.to_str().is_some_and(|text| {
                text == option || text.strip_prefix(&option).is_some_and(|rest| rest.starts_with('='))
            })
        };
        if !args.iter().any(is_said) {
            said.push(OsString::from(format!("{option}={}", read(Path::new(&file), &named)?)));
        }
    }
    args.splice(words..words, said);
    Ok(args)
}

/// A file that a variable names.
#[derive(Debug, Clone)]
pub struct Named {
    /// The name of its secret's option, such as `database-url`.
    pub option: String,
    /// The digest of what it held before it was read: what is written into it from then on is something new.
    pub held: [u8; 32],
}

/// The files of [`with_files`], to be asked before it.
pub fn named(
    command: &Command,
    args: &[OsString],
    variable: impl Fn(&str) -> Option<OsString>,
) -> BTreeMap<PathBuf, Named> {
    let (command, _) = called(command, args);
    let files = secrets_of(command).filter_map(|(_, long, named)| {
        let path = PathBuf::from(variable(&named)?);
        let held = rotation::held(&path);
        Some((path, Named { option: long.to_owned(), held }))
    });
    files.collect()
}

/// The command that is called, and how many words call it, this program's name and options before the command among them.
fn called<'a>(top: &'a Command, args: &[OsString]) -> (&'a Command, usize) {
    let (mut command, mut words, mut at) = (top, 1_usize, 1_usize);
    while let Some(word) = args.get(at).and_then(|word| word.to_str()) {
        at = at.saturating_add(1);
        if let Some(inner) = command.find_subcommand(word) {
            command = inner;
            words = at;
            continue;
        }
        // An option that may stand before the command; its value is the next word, unless it stands with it or there is none.
        let Some(option) = word.strip_prefix("--") else { break };
        let (name, is_whole) = option.split_once('=').map_or((option, false), |(name, _)| (name, true));
        let Some(known) = top.get_arguments().find(|known| known.get_long() == Some(name)) else { break };
        if !is_whole && known.get_action().takes_values() {
            at = at.saturating_add(1);
        }
    }
    (command, words)
}

/// Of each option that holds a secret: its variable, its name, and the variable that names a file.
fn secrets_of(command: &Command) -> impl Iterator<Item = (&str, &str, String)> {
    let secrets = command.get_arguments().filter(|argument| argument.is_hide_env_values_set());
    secrets.filter_map(|secret| {
        let (name, long) = (secret.get_env()?.to_str()?, secret.get_long()?);
        Some((name, long, format!("{name}{FILE}")))
    })
}

fn read(file: &Path, named: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("reading {}, which {named} names", file.display()))?;
    let secret = text.trim_end_matches(['\n', '\r']);
    ensure!(!secret.is_empty(), "{}, which {named} names, is empty", file.display());
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, CommandFactory as _, FromArgMatches as _, Parser};

    use super::*;
    use crate::role::Role;

    #[derive(Debug, Parser)]
    struct Cli {
        #[arg(long, global = true)]
        log_format: Option<String>,
        #[command(subcommand)]
        command: Only,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Only {
        Api(Role),
    }

    fn words(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_secret_is_read_from_the_file_that_its_variable_names() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            Some(dir.path().join(name).into_os_string())
        };
        let variable = |name: &str| match name {
            "DATABASE_URL_FILE" => file("url", "postgres://login:s3cret@db/x\n"),
            "REDIS_URL_FILE" => file("redis", "redis://:other@queue/"),
            "TRADESENSE_REPLICA_URLS_FILE" => file("replicas", "postgres://a,postgres://b\r\n"),
            _ => None,
        };
        let args = words(&["tradesense", "api", "--keys-dir", "keys"]);
        let args = with_files(&Cli::command(), args, variable).unwrap();
        let matches = Cli::command().try_get_matches_from(args.clone()).unwrap();
        let parsed = format!("{:?}", Cli::from_arg_matches(&matches).unwrap());
        for part in [
            "postgres://login:s3cret@db/x\"",
            "redis://:other@queue/\"",
            "[\"postgres://a\", \"postgres://b\"]",
        ] {
            assert!(parsed.contains(part), "{part} in {parsed}");
        }
        assert_eq!(args.get(1), Some(&OsString::from("api")));
    }

    #[test]
    fn what_is_written_after_a_file_was_read_is_something_new() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("url");
        let other = dir.path().join("other");
        std::fs::write(&file, "postgres://login:before@db/x").unwrap();
        std::fs::write(&other, "a key").unwrap();
        let variable = |name: &str| (name == "DATABASE_URL_FILE").then(|| file.clone().into_os_string());
        let named = named(&Cli::command(), &words(&["tradesense", "api"]), variable);
        let secrets = || rotation::Secrets {
            passing: named.iter().map(|(path, named)| (path.clone(), named.option.clone())).collect(),
            lasting: [other.clone()].into(),
        };
        assert_eq!(secrets().in_use(&named), secrets().digest());
        std::fs::write(&file, "postgres://login:after@db/x").unwrap();
        assert_ne!(secrets().in_use(&named), secrets().digest());
    }

    #[test]
    fn options_before_the_command_take_no_secret_away() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("url");
        std::fs::write(&file, "postgres://login:s3cret@db/x\n").unwrap();
        let variable = |name: &str| (name == "DATABASE_URL_FILE").then(|| file.clone().into_os_string());
        for before in [&["--log-format", "ecs"][..], &["--log-format=ecs"], &[]] {
            let args = words(
                &[&["tradesense"], before, &["api", "--keys-dir", "api", "--redis-url", "redis://queue"]]
                    .concat(),
            );
            assert_eq!(named(&Cli::command(), &args, variable).len(), 1, "{before:?}");
            let args = with_files(&Cli::command(), args, variable).unwrap();
            let matches = Cli::command().try_get_matches_from(args.clone()).unwrap();
            let parsed = format!("{:?}", Cli::from_arg_matches(&matches).unwrap());
            assert!(parsed.contains("postgres://login:s3cret@db/x\""), "{parsed}");
        }
    }

    #[test]
    fn the_command_line_wins_and_a_variable_beside_its_file_is_refused() {
        let variable = |name: &str| (name == "DATABASE_URL_FILE").then(|| OsString::from("/nowhere"));
        for said in [&["--database-url", "postgres://said"][..], &["--database-url=postgres://said"]] {
            let args = words(&[&["tradesense", "api"], said].concat());
            assert_eq!(with_files(&Cli::command(), args.clone(), variable).unwrap(), args);
        }
        let args = words(&["tradesense", "api"]);
        let missing = with_files(&Cli::command(), args.clone(), variable).unwrap_err();
        assert!(missing.to_string().contains("/nowhere, which DATABASE_URL_FILE names"), "{missing}");
        let both = |name: &str| name.starts_with("DATABASE_URL").then(|| OsString::from("x"));
        let refused = with_files(&Cli::command(), args, both).unwrap_err();
        assert!(refused.to_string().contains("both DATABASE_URL and DATABASE_URL_FILE"), "{refused}");
    }

    #[test]
    fn an_empty_file_is_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("empty"), "\n").unwrap();
        let variable =
            |name: &str| (name == "REDIS_URL_FILE").then(|| dir.path().join("empty").into_os_string());
        let refused =
            with_files(&Cli::command(), words(&["tradesense", "api"]), variable).unwrap_err().to_string();
        assert!(refused.ends_with("is empty"), "{refused}");
    }

    #[test]
    fn every_url_with_a_password_may_be_told_in_a_file() {
        let role = Role::augment_args(Command::new("role"));
        let open: Vec<_> = role
            .get_arguments()
            .filter(|argument| !argument.is_hide_env_values_set())
            .filter_map(|argument| argument.get_env()?.to_str())
            .filter(|name| {
                (name.contains("URL") && *name != "TRADESENSE_PUBLIC_URL")
                    || name.contains("KEY") && *name != "TRADESENSE_KEYS_DIR"
            })
            .collect();
        assert_eq!(open, Vec::<&str>::new());
    }
}
