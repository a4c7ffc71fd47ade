//! Which providers a firm has.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kernel::FirmId;

use super::port::{Provider, ProviderName, Webhooks};
use crate::AppError;

/// The providers of all firms that this process serves, each with its own keys.
#[derive(Default, Clone)]
pub struct Providers(BTreeMap<(FirmId, ProviderName), Connected>);

#[derive(Clone)]
struct Connected {
    provider: Arc<dyn Provider>,
    webhooks: Arc<dyn Webhooks>,
}

/// Somebody asked for a provider that the firm has no keys of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the firm does not use {0}")]
pub struct NoSuchProvider(pub ProviderName);

impl From<NoSuchProvider> for AppError {
    fn from(error: NoSuchProvider) -> Self {
        Self::refused("provider_unknown", format!("The firm does not use {}.", error.0))
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.keys()).finish()
    }
}

impl Providers {
    /// Adds one; a second of the same name takes the place of the first.
    #[must_use]
    pub fn with(mut self, firm: FirmId, provider: Arc<dyn Provider>, webhooks: Arc<dyn Webhooks>) -> Self {
        self.0.insert((firm, provider.name()), Connected { provider, webhooks });
        self
    }

    /// One of a firm's.
    pub fn of(&self, firm: FirmId, name: ProviderName) -> Result<&Arc<dyn Provider>, NoSuchProvider> {
        self.0.get(&(firm, name)).map(|connected| &connected.provider).ok_or(NoSuchProvider(name))
    }

    /// What tells whether a webhook is from one of a firm's.
    pub fn webhooks_of(
        &self,
        firm: FirmId,
        name: ProviderName,
    ) -> Result<&Arc<dyn Webhooks>, NoSuchProvider> {
        self.0.get(&(firm, name)).map(|connected| &connected.webhooks).ok_or(NoSuchProvider(name))
    }

    /// Which ones a firm has.
    pub fn names(&self, firm: FirmId) -> impl Iterator<Item = ProviderName> {
        self.0.keys().filter(move |(of, _)| *of == firm).map(|(_, name)| *name)
    }

    /// All, with whose they are.
    pub fn all(&self) -> impl Iterator<Item = (FirmId, &Arc<dyn Provider>)> {
        self.0.iter().map(|((firm, _), connected)| (*firm, &connected.provider))
    }
}
