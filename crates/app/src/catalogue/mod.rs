//! What a firm sells: programs with their current version and price, and what their rules mean.
//!
//! A program on sale is the product: its version says the size and the currency of the account. Beside it stand add-ons that make
//! another version of it ([`AddonChange`]), other prices by country and group, coupons, and tax ([`ShelfChange`]). What all of it
//! comes to is one pure function, [`quote`].

mod addons;
mod pricing;
mod sales;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use engine::Instruments;
use kernel::{Amount, Clock, FirmId, Money, Percent, Timestamp};
use rules::{Change, Invalid, Limit, Program, Rule, VersionHash};

use crate::trading::{AuditEntry, Digests, OutboxEntry};
use crate::{AppError, Context, FieldError, Permission};

pub use addons::{AddonChange, ChangesNothing};
pub use pricing::{
    Addon, AddonPrice, Basket, Country, Coupon, Item, NotForSale, Off, Price, PriceLine, Quote, Tax, USED_UP,
    Used, quote,
};
pub use sales::{Asked, NoTaxes, Shelf, ShelfChange, Taxes};

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

/// What must be on sale under a slug for a publication to replace it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// Whatever the set-up of the firm put there; what one of its people published stays.
    Setup,
    /// Nothing was ever sold under the slug.
    Nothing,
    /// This version.
    Version(VersionHash),
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is on sale.
    New,
    /// It was on sale already, at this price and place.
    AsItWas,
    /// Something else is on sale than was expected, and it stays.
    Overtaken,
}

/// A checked publication, as it is stored.
#[derive(Debug)]
pub struct NewVersion {
    /// What is sold.
    pub offer: Offer,
    /// Its place in the catalogue.
    pub position: i32,
    /// What it replaces.
    pub after: After,
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
    /// Puts a version on sale, if what is on sale is what it replaces.
    async fn publish(&self, new: &NewVersion) -> Result<Written, AppError>;
    /// Everything that was ever on sale under a slug, the newest first; empty for a slug that never was.
    async fn publications(&self, firm: FirmId, slug: &str) -> Result<Vec<Published>, AppError>;
    /// A version that is or was on sale, or was bought with add-ons.
    async fn kept(&self, firm: FirmId, version: &VersionHash) -> Result<Option<Kept>, AppError>;
    /// What is known of what somebody asks for; nothing if the program is not on sale.
    async fn shelf(&self, firm: FirmId, asked: &Asked<'_>) -> Result<Option<Shelf>, AppError>;
    /// Changes what stands beside the programs.
    async fn change_shelf(
        &self,
        firm: FirmId,
        change: &ShelfChange,
        audit: &AuditEntry,
    ) -> Result<(), AppError>;
}

/// A version that was put on sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The version.
    pub version: VersionHash,
    /// Its name for people.
    pub name: String,
    /// Its price then.
    pub fee: Money,
    /// When.
    pub at: Timestamp,
}

/// A version as it is kept: for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub version: VersionHash,
    /// The very text that was hashed.
    pub text: String,
    /// What it says.
    pub program: Arc<Program>,
    /// When it was first on sale, or bought.
    pub first_at: Timestamp,
}

/// A program as an editor sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// JSON.
    Json(String),
    /// TOML.
    Toml(String),
}

/// A program without a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// It.
    pub program: Program,
    /// The name that it gets.
    pub version: VersionHash,
    /// The text that is hashed.
    pub canonical: String,
    /// What distinguishes it from the version that it was compared with; none if there was none.
    pub changes: Vec<Change>,
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
    instruments: Arc<Instruments>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Catalogue").finish_non_exhaustive()
    }
}

impl Catalogue {
    /// Over a store. The instruments are those of the installation: no other can be traded.
    pub fn new(store: Arc<dyn CatalogueStore>, instruments: Arc<Instruments>, clock: Arc<dyn Clock>) -> Self {
        Self { store, instruments, clock }
    }

    /// Everything on sale. Open to everybody.
    pub async fn list(&self, firm: FirmId) -> Result<Vec<Offer>, AppError> {
        self.store.offers(firm).await
    }

    /// One program on sale. Open to everybody.
    pub async fn get(&self, firm: FirmId, slug: &str) -> Result<Offer, AppError> {
        self.store.offer(firm, slug).await?.ok_or(AppError::NotFound("program"))
    }

    /// Everything that was ever on sale under a slug, the newest first. Open to everybody.
    pub async fn publications(&self, firm: FirmId, slug: &str) -> Result<Vec<Published>, AppError> {
        let found = self.store.publications(firm, slug).await?;
        if found.is_empty() { Err(AppError::NotFound("program")) } else { Ok(found) }
    }

    /// A version that is or was on sale, or was bought with add-ons. Open to everybody.
    pub async fn version(&self, firm: FirmId, version: &str) -> Result<Kept, AppError> {
        let not_found = || AppError::NotFound("version");
        let version = VersionHash::parse(version).ok_or_else(not_found)?;
        self.store.kept(firm, &version).await?.ok_or_else(not_found)
    }

    /// What distinguishes two versions that are or were on sale under a slug, in sentences. Open to everybody.
    pub async fn difference(
        &self,
        firm: FirmId,
        slug: &str,
        from: &str,
        to: &str,
    ) -> Result<Vec<Change>, AppError> {
        let published = self.publications(firm, slug).await?;
        let sold = |version: &str| published.iter().any(|it| it.version.as_str() == version);
        if !sold(from) || !sold(to) {
            return Err(AppError::NotFound("version"));
        }
        let (before, after) = (self.version(firm, from).await?, self.version(firm, to).await?);
        Ok(rules::difference(&before.program, &after.program))
    }

    /// Looks at a program without storing anything: every fault that was found, or what it means and how it differs from
    /// a version that is or was on sale.
    pub async fn check(
        &self,
        context: &Context,
        source: &Source,
        against: Option<&str>,
    ) -> Result<Result<Checked, Vec<Invalid>>, AppError> {
        context.demand(Permission::EditPrograms)?;
        let before = match against {
            Some(version) => Some(self.version(context.firm, version).await?),
            None => None,
        };
        let program = match self.read(source) {
            Ok(program) => program,
            Err(faults) => return Ok(Err(faults)),
        };
        let changes = before.map(|before| rules::difference(&before.program, &program));
        let (version, canonical) = named(&program)?;
        Ok(Ok(Checked { program, version, canonical, changes: changes.unwrap_or_default() }))
    }

    /// Reads and checks a program, also against the instruments of this installation.
    fn read(&self, source: &Source) -> Result<Program, Vec<Invalid>> {
        let program = match source {
            Source::Json(text) => Program::from_json(text),
            Source::Toml(text) => Program::from_toml(text),
        };
        let program = program.map_err(|error| error.faults())?;
        let symbols = program.terms.instruments.iter().enumerate();
        let unknown = symbols.filter(|(_, symbol)| self.instruments.find(symbol).is_none());
        let faults: Vec<_> = unknown
            .map(|(place, symbol)| Invalid {
                path: format!("terms.instruments[{place}]"),
                say: format!("{symbol} is not traded here; the list of instruments names what is"),
            })
            .collect();
        if faults.is_empty() { Ok(program) } else { Err(faults) }
    }

    /// Puts a version on sale under a slug. `started_from` is the version that the editor had before them, none for a
    /// slug of its own: if another is on sale by now, `program_changed`, so that nobody overwrites what they have not
    /// seen. Doing it twice changes nothing. Accounts keep the version that they were bought with.
    pub async fn publish(
        &self,
        context: &Context,
        slug: String,
        source: &Source,
        (fee, position): (Money, i32),
        started_from: Option<&str>,
    ) -> Result<Offer, AppError> {
        context.demand(Permission::EditPrograms)?;
        let program = self.read(source).map_err(|faults| AppError::Invalid(fields(&faults)))?;
        let after = match started_from {
            None => After::Nothing,
            Some(version) => After::Version(VersionHash::parse(version).ok_or_else(overtaken)?),
        };
        let new = self.prepare(context, Publication { slug, program, fee, position }, after)?;
        match self.store.publish(&new).await? {
            Written::New | Written::AsItWas => Ok(new.offer),
            Written::Overtaken => Err(overtaken()),
        }
    }

    /// Puts a version on sale under a slug, in place of the one that setting up put there before; what the firm's
    /// people have published stays. Doing it twice changes nothing. For setting up a firm: whether the caller may is
    /// not asked here. Gives what is on sale then.
    pub async fn publish_version(
        &self,
        context: &Context,
        publication: Publication,
    ) -> Result<Offer, AppError> {
        let new = self.prepare(context, publication, After::Setup)?;
        match self.store.publish(&new).await? {
            Written::New | Written::AsItWas => Ok(new.offer),
            Written::Overtaken => self.get(context.firm, &new.offer.slug).await,
        }
    }

    fn prepare(
        &self,
        context: &Context,
        publication: Publication,
        after: After,
    ) -> Result<NewVersion, AppError> {
        let Publication { slug, program, fee, position } = publication;
        if !is_slug(&slug) {
            let say = "Use lower-case letters, digits and hyphens, at most 64; check and versions are taken.";
            return Err(AppError::field("/slug", say));
        }
        if fee.minor() < 0 {
            return Err(AppError::field("/fee", "Must not be negative."));
        }
        program.check().map_err(|error| AppError::Invalid(fields(&error.faults())))?;
        let (version, _) = named(&program)?;
        let at = self.clock.now();
        let detail = serde_json::json!({ "slug": slug, "version": version, "fee": fee });
        let before = match &after {
            After::Setup | After::Nothing => None,
            After::Version(version) => Some(serde_json::json!({ "version": version })),
        };
        Ok(NewVersion {
            audit: AuditEntry {
                firm: context.firm,
                at,
                actor: context.actor.as_ref().map(|actor| actor.person),
                action: "program.publish".to_owned(),
                object_kind: "program",
                object: slug.clone(),
                request: Some(context.request),
                purpose: String::new(),
                digests: Digests::of(before.as_ref(), Some(&serde_json::json!({ "version": version }))),
                detail: detail.clone(),
            },
            outbox: OutboxEntry {
                firm: context.firm,
                at,
                aggregate: format!("program:{slug}"),
                topic: "program.published",
                payload: detail,
                request: Some(context.request),
            },
            offer: Offer { slug, version, program: Arc::new(program), fee },
            position,
            after,
            at,
        })
    }
}

fn overtaken() -> AppError {
    let say =
        "Another version is on sale than the one you started from. Look at what changed and start from it.";
    AppError::refused("program_changed", say)
}

fn named(program: &Program) -> Result<(VersionHash, String), AppError> {
    let bug = |error| AppError::bug("naming a version")(Box::new(error));
    Ok((program.version().map_err(bug)?, program.canonical_json().map_err(bug)?))
}

/// The faults of a program as faults of a request that carries it in `program`.
fn fields(faults: &[Invalid]) -> Vec<FieldError> {
    let field = |fault: &Invalid| FieldError {
        pointer: pointer(&fault.path),
        code: "validation_failed",
        say: fault.say.clone(),
    };
    faults.iter().map(field).collect()
}

/// `phases[0].rules[2].limit` as a pointer into the body: `/program/phases/0/rules/2/limit`.
fn pointer(path: &str) -> String {
    let mut pointer = "/program".to_owned();
    for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
        pointer.push('/');
        pointer.push_str(step);
    }
    pointer
}

fn is_slug(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    // Addresses of the API begin with these.
    let taken = matches!(text, "check" | "versions");
    (1..=64).contains(&text.len())
        && !taken
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
        for bad in ["", "-a", "a-", "Two", "a b", "ä", &"a".repeat(65), "check", "versions"] {
            assert!(!is_slug(bad), "{bad}");
        }
    }

    #[test]
    fn faults_point_into_the_body() {
        assert_eq!(pointer("phases[0].rules[12].limit"), "/program/phases/0/rules/12/limit");
        assert_eq!(pointer("name"), "/program/name");
        assert_eq!(pointer(""), "/program");
    }
}
