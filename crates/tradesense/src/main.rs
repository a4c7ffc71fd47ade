//! `tradesense`: one binary, many roles.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use app::privacy::KeyStore;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use telemetry::ecs::Ecs;
use tradesense::replay::{self, Found};
use tradesense::role::{Ended, Part, Role};
use tradesense::secret_files::Named;
use tradesense::system::SystemClock;
use tradesense::{
    audit_log, demo, drill, firm, health, keys, privacy, quotes, receipt, role, rotation, rules,
    secret_files, smoke, up,
};

/// Runs a prop-trading challenge business: sells evaluations, runs the accounts, checks every rule on every price.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// How log lines are written to the standard error: as text, or as JSON in the Elastic Common Schema.
    #[arg(long, env = "TRADESENSE_LOG_FORMAT", global = true, default_value = "text")]
    log_format: LogFormat,
    /// What log lines call this installation, such as `production-eu`.
    #[arg(long, env = "TRADESENSE_ENVIRONMENT", global = true, default_value = "development")]
    environment: String,
    #[command(subcommand)]
    command: Command,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Ecs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts everything in one process, with a private database and a demonstration market.
    Up(up::Up),
    /// Serves people and programs over HTTP, beside processes of the other roles.
    Api(role::Role),
    /// Owns shards and takes its turn at feeding quotes, beside processes of the other roles.
    Engine(role::Role),
    /// Carries messages and does chores, beside processes of the other roles.
    Worker(role::Role),
    /// Serves boards, statistics and counters, beside processes of the other roles.
    Analytics(role::Role),
    /// Makes the demonstration's firm, programs and people in a migrated database, and prints the passwords.
    Demo(demo::Demo),
    /// Asks a process whether it serves. Ends with 0 only if it does.
    Health {
        /// Where it answers.
        #[arg(default_value = health::USUAL)]
        url: String,
    },
    /// Prints the OpenAPI document.
    Openapi {
        /// That of the analytics role.
        #[arg(long)]
        analytics: bool,
    },
    /// Asks a process that is about to take over what people would ask it. Ends with 0 only if every answer is right.
    Smoke(smoke::Smoke),
    /// Prints the topics of messages, each with the JSON Schema of its payload.
    Topics,
    /// Brings a database's schema up to date.
    Migrate {
        /// The database, as its owner.
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
        /// Make the login that the platform works under, with this password, and print its URL.
        #[arg(long, env = "TRADESENSE_LOGIN_PASSWORD", hide_env_values = true)]
        login_password: Option<String>,
        /// The name of that login; of the database's number unless said.
        #[arg(long, env = "TRADESENSE_LOGIN_NAME", requires = "login_password")]
        login_name: Option<String>,
        /// Where the keys of people are. Needed once, where there are people from before release 0019.
        #[arg(long, env = "TRADESENSE_KEYS_DIR")]
        keys_dir: Option<PathBuf>,
        #[command(flatten)]
        region: privacy::RegionArgs,
    },
    /// Looks for rows of the trading tables that contradict each other. Ends with 0 only if there are none.
    Check {
        /// The database, as its owner.
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// Verifies a restored copy of the database, tells it who was erased since, and says what the restore took and lost. Ends with 0
    /// only if all of it is good.
    Drill(drill::Drill),
    /// Applies a history again and compares it with what is stored, or judges it by another program. Ends with 0 only
    /// if the replay is equal to what is stored.
    Replay(replay::Replay),
    /// Checks, explains and compares programs, and runs their examples.
    #[command(subcommand)]
    Rules(rules::Rules),
    /// Lists, checks, reads and archives the quote log.
    #[command(subcommand)]
    Quotes(quotes::Quotes),
    /// Verifies and exports the audit log.
    #[command(subcommand)]
    Audit(audit_log::AuditLog),
    /// Checks receipts.
    #[command(subcommand)]
    Receipt(receipt::Receipts),
    /// Makes the firm that an installation is for, and whoever runs it.
    #[command(subcommand)]
    Firm(firm::Command),
    /// Tells a restored database who was erased, and checks archives of somebody's data.
    #[command(subcommand)]
    Privacy(privacy::Command),
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let named = secret_files::named(&Cli::command(), &args, |name| std::env::var_os(name));
    let args = match secret_files::with_files(&Cli::command(), args, |name| std::env::var_os(name)) {
        Ok(args) => args,
        Err(error) => return failed(&error),
    };
    let cli = Cli::parse_from(args);
    log(&cli);
    let ran = match cli.command {
        Command::Up(up) => up::run(&up).map(|()| Found::Equal),
        Command::Api(role) => run_role(Part::Api, &role, &named),
        Command::Engine(role) => run_role(Part::Engine, &role, &named),
        Command::Worker(role) => run_role(Part::Worker, &role, &named),
        Command::Analytics(role) => run_role(Part::Analytics, &role, &named),
        Command::Demo(demo) => demo::run(&demo).map(|()| Found::Equal),
        Command::Firm(command) => firm::run(&command, &mut std::io::stdout().lock()).map(|()| Found::Equal),
        Command::Health { url } => health::ask(&url).map(|()| Found::Equal),
        Command::Smoke(smoke) => smoke::run(&smoke, &mut std::io::stdout().lock()).map(|()| Found::Equal),
        Command::Topics => topics().map(|()| Found::Equal),
        Command::Openapi { analytics } => openapi(analytics).map(|()| Found::Equal),
        Command::Migrate { database_url, login_password, login_name, keys_dir, region } => {
            let login = login_password.as_deref().map(|password| (login_name.as_deref(), password));
            migrate(&database_url, login, keys_dir.as_deref(), &region).map(|()| Found::Equal)
        }
        Command::Check { database_url } => check(&database_url),
        Command::Drill(drill) => drill::run(&drill, &SystemClock, &mut std::io::stdout().lock()),
        Command::Replay(replay) => replay::run(&replay, &SystemClock),
        Command::Rules(command) => rules::run(&command, &mut std::io::stdout().lock()),
        Command::Quotes(command) => quotes::run(&command, &mut std::io::stdout().lock()),
        Command::Audit(command) => audit_log::run(&command, &mut std::io::stdout().lock()),
        Command::Receipt(command) => receipt::run(&command, &mut std::io::stdout().lock()),
        Command::Privacy(command) => privacy::run(&command, &SystemClock, &mut std::io::stdout().lock()),
    };
    match ran {
        Ok(Found::Equal) => ExitCode::SUCCESS,
        Ok(Found::Different) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

/// Becomes this program again where the role ended for other secrets.
fn run_role(part: Part, role: &Role, named: &BTreeMap<PathBuf, Named>) -> anyhow::Result<Found> {
    match role::run(part, role, named)? {
        Ended::Told => Ok(Found::Equal),
        Ended::ForSecrets(sockets) => Err(rotation::again(sockets)),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // Nothing is left to tell if standard error is gone too.
    drop(writeln!(std::io::stderr(), "tradesense: {error:#}"));
    ExitCode::FAILURE
}

fn log(cli: &Cli) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TRADESENSE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match cli.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Ecs => {
            let clock = Arc::new(SystemClock);
            let version = env!("CARGO_PKG_VERSION");
            lines.event_format(Ecs::new(clock, version, cli.command.role(), &cli.environment)).init();
        }
    }
}

impl Command {
    /// The role in log lines.
    const fn role(&self) -> &'static str {
        match self {
            Self::Up(_) => "all",
            Self::Api(_) => "api",
            Self::Engine(_) => "engine",
            Self::Worker(_) => "worker",
            Self::Analytics(_) => "analytics",
            Self::Demo(_)
            | Self::Firm(_)
            | Self::Health { .. }
            | Self::Smoke(_)
            | Self::Openapi { .. }
            | Self::Topics
            | Self::Migrate { .. }
            | Self::Check { .. }
            | Self::Drill(_)
            | Self::Replay(_)
            | Self::Rules(_)
            | Self::Quotes(_)
            | Self::Audit(_)
            | Self::Receipt(_)
            | Self::Privacy(_) => "command",
        }
    }
}

fn openapi(of_analytics: bool) -> anyhow::Result<()> {
    let document = if of_analytics { analytics::openapi()? } else { web::openapi()? };
    Ok(std::io::stdout().lock().write_all(document.as_bytes())?)
}

fn topics() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &app::events::schemas())?;
    Ok(writeln!(out)?)
}

fn check(url: &str) -> anyhow::Result<Found> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let faults = runtime.block_on(store::Store::faults_at(url))?;
    let mut out = std::io::stdout().lock();
    for store::Fault { say, rows, example } in &faults {
        writeln!(out, "{rows} times {say}, such as {example}")?;
    }
    writeln!(out, "{} faults", faults.len())?;
    Ok(if faults.is_empty() { Found::Equal } else { Found::Different })
}

fn migrate(
    url: &str,
    login: Option<(Option<&str>, &str)>,
    keys_dir: Option<&Path>,
    region: &privacy::RegionArgs,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(store::Store::migrate(url))?;
    let keys: Option<Arc<dyn KeyStore>> = match keys_dir {
        Some(keys_dir) => Some(Arc::new(keys::people_keys(keys_dir)?)),
        None => None,
    };
    runtime.block_on(privacy::prepare(url, keys.as_ref(), region))?;
    if let Some((name, password)) = login {
        let login = runtime.block_on(store::Store::ensure_login_named(url, name, password))?;
        writeln!(std::io::stdout().lock(), "{login}")?;
    }
    Ok(())
}
