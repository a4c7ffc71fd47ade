//! What others made, beside what we made: the providers' own libraries and localstripe. Our fakes and our clients were written by
//! the same hands and may be wrong together; these were not.
//!
//! `xtask/peers.txt` pins them, `cargo xtask test` installs them. They run as programs of their own, on ports of their own.
#![expect(clippy::indexing_slicing, reason = "the helpers of a test fail it")]

mod localstripe;
mod paypal_sdk;
mod stripe_sdk;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::SystemTime;

use kernel::{Clock, Timestamp};
use serde_json::Value;
use testkit::listed;

/// A provider's own library in a Python that does with it what it is told; it ends with the value.
///
/// Asking blocks, so a fake that it calls has to run on another thread of the test's.
struct Library {
    process: Child,
    told: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Fields of answers that the library has no name for, where its script looks.
    unknown: Vec<String>,
}

impl Library {
    /// Starts one of the scripts beside this file.
    fn start(script: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payments/peers").join(script);
        let mut process = Command::new(listed("peers").join("python"))
            // The libraries of the list and nobody else's.
            .arg("-I")
            .arg(script)
            .args(arguments)
            // A fake is on this machine, whatever stands between it and others.
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, told, answers: BufReader::new(answers), unknown: Vec::new() }
    }

    /// What the library gave, or what it raised.
    fn ask(&mut self, what: &Value) -> Result<Value, Value> {
        writeln!(self.told, "{what}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the script ended at {what}");
        let answer: Value = serde_json::from_str(&line).unwrap();
        let unknown = answer["unknown"].as_array().into_iter().flatten();
        self.unknown.extend(unknown.map(|name| name.as_str().unwrap().to_owned()));
        match answer.get("ok") {
            Some(ok) => Ok(ok.clone()),
            None => Err(answer),
        }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The time by which the libraries go, which take no other.
#[derive(Debug)]
struct Wall;

impl Clock for Wall {
    #[expect(clippy::disallowed_methods, reason = "what others made reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
    }
}
