//! What a firm sells: programs with their current version and price, and what their rules mean.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::{Amount, Clock, FirmId, Money, Percent, Timestamp};
use rules::{Limit, Program, Rule, VersionHash};

use crate::trading::{AuditEntry, OutboxEntry};
use crate::{AppError, Context};

/// A program on sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name in addresses; stays when the version changes.
    pub slug: String,
    /// The version that is sold now.
    pub version: VersionHash,
    /// That version.
    pub program: Arc<Program>,
    /// Its price.
    pub fee: Money,
}

/// A version put on sale.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Lower-case letters, digits and hyphens, at most 64.
    pub slug: String,
    /// The version.
    pub program: Program,
    /// Its price; not negative.
    pub fee: Money,
    /// Its place in the catalogue.
    pub position: i32,
}

/// A checked publication, as it is stored.
#[derive(Debug)]
pub struct NewVersion {
    /// What is sold.
    pub offer: Offer,
    /// Its place in the catalogue.
    pub position: i32,
    /// When.
    pub at: Timestamp,
    /// Written if something changed.
    pub audit: AuditEntry,
    /// Written if something changed.
    pub outbox: OutboxEntry,
}

/// What the catalogue stores.
#[async_trait]
pub trait CatalogueStore: Send + Sync {
    /// Everything on sale, in the firm's order.
    async fn offers(&self, firm: FirmId) -> Result<Vec<Offer>, AppError>;
    /// One program on sale.
    async fn offer(&self, firm: FirmId, slug: &str) -> Result<Option<Offer>, AppError>;
    /// Puts a version on sale; false if it already was, at this price and place.
    async fn publish(&self, new: &NewVersion) -> Result<bool, AppError>;
}

/// A phase in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseText {
    /// Its name.
    pub name: String,
    /// Its rules, in order.
    pub rules: Vec<RuleText>,
    /// What else holds: payouts, growth, how one gets on.
    pub policies: Vec<String>,
}

/// A rule in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleText {
    /// The kind's word.
    pub kind: &'static str,
    /// What it means.
    pub sentence: String,
    /// How much may be lost or must be earned, for the rules that say so.
    pub limit: Option<LimitText>,
}

/// A limit: the share as the program says it, and the amount where it is known before trading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitText {
    /// In the account's currency.
    pub amount: Option<Amount>,
    /// Of the initial balance or of the value measured from.
    pub percent: Option<Percent>,
}

/// The rules of a program in words, phase by phase.
pub fn phases(program: &Program) -> Vec<PhaseText> {
    let initial = program.initial_balance;
    let rule = |rule: &Rule| RuleText {
        kind: rule.kind(),
        sentence: rule.sentence(&program.words()),
        limit: rule.limit().map(|limit| limit_text(limit, initial)),
    };
    let phase = |phase: &rules::Phase| PhaseText {
        name: phase.name.clone(),
        rules: phase.rules.iter().map(rule).collect(),
        policies: phase.sentences(&program.words()).split_off(phase.rules.len()),
    };
    program.phases.iter().map(phase).collect()
}

fn limit_text(limit: Limit, initial: Amount) -> LimitText {
    match limit {
        Limit::Amount(amount) => LimitText { amount: Some(amount), percent: None },
        Limit::PercentOfInitial(percent) => {
            LimitText { amount: limit.amount(initial, initial).ok(), percent: Some(percent) }
        }
        Limit::PercentOfReference(percent) => LimitText { amount: None, percent: Some(percent) },
    }
}

/// The use cases of the catalogue.
pub struct Catalogue {
    store: Arc<dyn CatalogueStore>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Catalogue").finish_non_exhaustive()
    }
}

impl Catalogue {
    /// Over a store.
    pub fn new(store: Arc<dyn CatalogueStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Everything on sale. Open to everybody.
    pub async fn list(&self, firm: FirmId) -> Result<Vec<Offer>, AppError> {
        self.store.offers(firm).await
    }

    /// One program on sale. Open to everybody.
    pub async fn get(&self, firm: FirmId, slug: &str) -> Result<Offer, AppError> {
        self.store.offer(firm, slug).await?.ok_or(AppError::NotFound("program"))
    }

    /// Puts a version on sale under a slug, in place of the one that was. Doing it twice changes nothing. For
    /// setting up a firm: whether the caller may is not asked here.
    pub async fn publish_version(
        &self,
        context: &Context,
        publication: Publication,
    ) -> Result<Offer, AppError> {
        let Publication { slug, program, fee, position } = publication;
        if !is_slug(&slug) {
            return Err(AppError::field("/slug", "Use lower-case letters, digits and hyphens, at most 64."));
        }
        if fee.minor() < 0 {
            return Err(AppError::field("/fee", "Must not be negative."));
        }
        program.check().map_err(|error| AppError::field("/program", error.to_string()))?;
        let version =
            program.version().map_err(|error| AppError::bug("naming a version")(Box::new(error)))?;
        let at = self.clock.now();
        let detail = serde_json::json!({ "slug": slug, "version": version, "fee": fee });
        let new = NewVersion {
            audit: AuditEntry {
                firm: context.firm,
                at,
                actor: context.actor.as_ref().map(|actor| actor.person),
                action: "program.publish".to_owned(),
                object_kind: "program",
                object: slug.clone(),
                request: Some(context.request),
                detail: detail.clone(),
            },
            outbox: OutboxEntry {
                firm: context.firm,
                at,
                aggregate: format!("program:{slug}"),
                topic: "program.published",
                payload: detail,
            },
            offer: Offer { slug, version, program: Arc::new(program), fee },
            position,
            at,
        };
        self.store.publish(&new).await?;
        Ok(new.offer)
    }
}

fn is_slug(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_known_where_they_do_not_depend_on_trading() {
        let initial = Amount::parse("100000").unwrap();
        let five = Percent::parse("5").unwrap();
        let text = limit_text(Limit::PercentOfInitial(five), initial);
        assert_eq!(text, LimitText { amount: Some(Amount::parse("5000").unwrap()), percent: Some(five) });
        assert_eq!(limit_text(Limit::PercentOfReference(five), initial).amount, None);
    }

    #[test]
    fn slugs_fit_an_address() {
        assert!(is_slug("two-step-100k"));
        for bad in ["", "-a", "a-", "Two", "a b", "ä", &"a".repeat(65)] {
            assert!(!is_slug(bad), "{bad}");
        }
    }
}
