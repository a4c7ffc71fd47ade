//! `--payments FILE`: which providers of money each firm has, and where their keys lie.
//!
//! ```toml
//! [[provider]]
//! firm = "demo"                      # the firm's slug
//! name = "stripe"
//! mode = "test"                      # or "live"; keys of the other mode are refused
//! key_file = "stripe.key"            # beside this file, or absolute
//! webhook_secret_files = ["stripe-webhook.secret"]   # several while one is being replaced
//!
//! [[provider]]
//! firm = "demo"
//! name = "paypal"
//! mode = "test"
//! client_id = "AZ..."
//! key_file = "paypal.secret"
//! webhook_id = "8PT597110X687430L"
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use app::payments::Providers;
use app::payments::port::{Mode, Provider, Webhooks};
use clap::Args;
use kernel::{Clock, FirmId, Rng};
use providers::payments::paypal::{HttpsCertificates, Paypal, PaypalSettings, PaypalWebhooks};
use providers::payments::stripe::{Stripe, StripeSettings, StripeWebhooks};
use providers::payments::{Limits, Tools, system_roots, system_roots_pem};
use serde::Deserialize;

/// From where a process knows its providers.
#[derive(Debug, Clone, Default)]
pub enum Payments {
    /// There are none.
    #[default]
    None,
    /// A file says.
    File(PathBuf),
    /// These, by the firm's id.
    Given(Providers),
}

/// Of every process that takes or sends money.
#[derive(Debug, Clone, Args)]
pub struct PaymentArgs {
    /// Which providers of money the firms have, and where their keys lie (`docs/guides/payments.md`).
    #[arg(long, env = "TRADESENSE_PAYMENTS")]
    payments: Option<PathBuf>,
    /// The port where providers of money tell what happened; without it nobody listens to them. 0 takes a free one.
    #[arg(long, env = "TRADESENSE_WEBHOOKS_PORT")]
    webhooks_port: Option<u16>,
}

impl PaymentArgs {
    /// Who they are.
    pub(crate) fn providers(&self) -> Payments {
        self.payments.clone().map_or(Payments::None, Payments::File)
    }

    /// The files that hold who they are and their keys, as far as they can be read.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let Some(file) = &self.payments else { return Vec::new() };
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let entries: File = toml::from_str(&text).unwrap_or_default();
        let beside = file.parent().unwrap_or(Path::new(""));
        let keys = entries.provider.iter().flat_map(|entry| {
            std::iter::once(&entry.key_file).chain(&entry.webhook_secret_files).map(|key| beside.join(key))
        });
        std::iter::once(file.clone()).chain(keys).collect()
    }

    /// Where they are listened to.
    pub(crate) fn listen(&self, host: IpAddr) -> Option<SocketAddr> {
        self.webhooks_port.map(|port| SocketAddr::new(host, port))
    }
}

impl Payments {
    /// The providers, for firms by their slugs.
    pub(crate) fn providers(
        &self,
        firms: &BTreeMap<String, FirmId>,
        clock: &Arc<dyn Clock>,
        rng: &Arc<dyn Rng>,
    ) -> anyhow::Result<Providers> {
        match self {
            Self::None => Ok(Providers::default()),
            Self::File(file) => read(file, firms, clock, rng),
            Self::Given(providers) => Ok(providers.clone()),
        }
    }

    /// Whether what the file says can be used; which firms there are it does not ask.
    pub(crate) fn check(&self, clock: &Arc<dyn Clock>, rng: &Arc<dyn Rng>) -> anyhow::Result<()> {
        let Self::File(file) = self else { return Ok(()) };
        let firms = entries(file)?.provider.into_iter().map(|entry| {
            let id = FirmId::derived(&[b"firm", entry.firm.as_bytes()]);
            (entry.firm, id)
        });
        read(file, &firms.collect(), clock, rng).map(drop)
    }
}

/// PayPal's certificates are waited for so long.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    provider: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    firm: String,
    name: String,
    mode: String,
    key_file: PathBuf,
    #[serde(default)]
    webhook_secret_files: Vec<PathBuf>,
    client_id: Option<String>,
    webhook_id: Option<String>,
    /// Another address than the provider's own, for test money only.
    address: Option<String>,
}

fn entries(file: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    toml::from_str(&text).with_context(|| format!("reading {}", file.display()))
}

/// Reads a file of providers, for firms by their slugs.
fn read(
    file: &Path,
    firms: &BTreeMap<String, FirmId>,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
) -> anyhow::Result<Providers> {
    let entries = entries(file)?;
    let beside = file.parent().unwrap_or(Path::new(""));
    let mut providers = Providers::default();
    for entry in entries.provider {
        let firm = firms.get(&entry.firm).with_context(|| format!("there is no firm {}", entry.firm))?;
        let whose = format!("{} of {}", entry.name, entry.firm);
        let tools = Tools {
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            roots: system_roots(),
            limits: Limits::default(),
        };
        let (provider, webhooks) =
            connect(entry, beside, tools).with_context(|| format!("setting up {whose}"))?;
        ensure!(providers.of(*firm, provider.name()).is_err(), "{whose} is there twice");
        providers = providers.with(*firm, provider, webhooks);
    }
    Ok(providers)
}

fn connect(
    entry: Entry,
    beside: &Path,
    tools: Tools,
) -> anyhow::Result<(Arc<dyn Provider>, Arc<dyn Webhooks>)> {
    let secret = |file: &Path| {
        let file = beside.join(file);
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        anyhow::Ok(text.trim().to_owned())
    };
    let mode = match entry.mode.as_str() {
        "test" => Mode::Test,
        "live" => Mode::Live,
        other => bail!("the mode is test or live, not {other}"),
    };
    let key = secret(&entry.key_file)?;
    match entry.name.as_str() {
        "stripe" => {
            ensure!(
                entry.client_id.is_none() && entry.webhook_id.is_none(),
                "Stripe has no client_id and no webhook_id"
            );
            let secrets: Vec<String> =
                entry.webhook_secret_files.iter().map(|file| secret(file)).collect::<Result<_, _>>()?;
            let webhooks = StripeWebhooks::new(mode, secrets)?;
            let stripe = Stripe::new(StripeSettings { mode, key, address: entry.address }, tools)?;
            Ok((Arc::new(stripe), Arc::new(webhooks)))
        }
        "paypal" => {
            ensure!(
                entry.webhook_secret_files.is_empty(),
                "PayPal signs with certificates; it has no webhook secret"
            );
            let client = entry.client_id.context("PayPal needs a client_id")?;
            let webhook = entry.webhook_id.context("PayPal needs the webhook_id that it gave our webhook")?;
            let source = HttpsCertificates::new(system_roots(), PATIENCE, None)?;
            let webhooks =
                PaypalWebhooks::new(mode, webhook, system_roots_pem().as_bytes(), Arc::new(source))?;
            let paypal =
                Paypal::new(PaypalSettings { mode, client, secret: key, address: entry.address }, tools)?;
            Ok((Arc::new(paypal), Arc::new(webhooks)))
        }
        other => bail!("there is no provider {other}; there are stripe and paypal"),
    }
}
