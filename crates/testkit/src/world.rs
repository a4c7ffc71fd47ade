//! A platform in a test database: the store, its use cases, a clock and chance the test commands.

use std::sync::Arc;

use app::catalogue::{Catalogue, Publication};
use app::identity::{Cost, Identity, Password, Person, Registration};
use app::purchases::{Purchases, Unopened};
use app::releases::Releases;
use app::trading::{AuditEntry, Digests};
use app::{Context, Role};
use engine::{Instrument, Instruments, Key};
use kernel::{
    Clock as _, Currency, FirmId, ManualClock, Money, Price, Quantity, SeededRng, Span, Symbol, Timestamp,
};
use rules::Program;
use store::{NewFirm, Settings, Store};

use crate::TestDatabase;
use crate::keys::{MemoryKeys, vault_over};

/// Where the clock stands at first: a Monday morning.
pub const START: &str = "2026-01-05T10:00:00Z";
/// The password of everybody in a test.
pub const PASSWORD: &str = "a quiet street in May";

/// A platform.
#[derive(Debug)]
pub struct World {
    /// The store.
    pub store: Arc<Store>,
    /// The clock of everything below.
    pub clock: Arc<ManualClock>,
    /// The chance of everything below.
    pub rng: Arc<SeededRng>,
    /// People.
    pub identity: Identity,
    /// Programs.
    pub catalogue: Catalogue,
    /// Purchases.
    pub purchases: Purchases,
    /// Calendars.
    pub releases: Releases,
    /// The keys of people.
    pub keys: Arc<MemoryKeys>,
    /// Removed when the world is dropped.
    pub database: TestDatabase,
}

impl World {
    /// An empty platform.
    pub async fn new() -> Self {
        let database = TestDatabase::new().await;
        let keys = Arc::new(MemoryKeys::default());
        let settings = Settings {
            url: database.login_url().await,
            instruments: instruments(),
            app_connections: 5,
            engine_connections: 3,
            worker_connections: 3,
            vault: vault_over(keys.clone()),
        };
        let store = Arc::new(Store::connect(&settings).await.expect("the store opens"));
        let clock = Arc::new(ManualClock::new(Timestamp::parse(START).unwrap()));
        let rng = Arc::new(SeededRng::new(42));
        // Weak on purpose: tests hash often and prove nothing about the cost.
        let cost = Cost { memory: 64, passes: 1, lanes: 1 };
        Self {
            identity: Identity::new(store.clone(), clock.clone(), rng.clone(), 2, cost),
            catalogue: Catalogue::new(store.clone(), instruments(), clock.clone()),
            purchases: Purchases::new(store.clone(), store.clone(), clock.clone(), rng.clone()),
            releases: Releases::new(store.clone(), instruments(), clock.clone(), rng.clone()),
            store,
            clock,
            rng,
            keys,
            database,
        }
    }

    /// A firm that answers to `{slug}.example`.
    pub async fn firm(&self, slug: &str) -> FirmId {
        let new = NewFirm {
            slug: slug.to_owned(),
            name: slug.to_owned(),
            domains: vec![format!("{slug}.example")],
        };
        let at = Timestamp::parse(START).unwrap();
        Store::ensure_firm(&self.database.url(), &new, at).await.expect("the firm is set up")
    }

    /// A request from nobody.
    pub fn context(&self, firm: FirmId) -> Context {
        let at = Timestamp::parse(START).unwrap();
        Context::of_platform(firm, at, &*self.rng)
    }

    /// A request from somebody.
    pub fn context_of(&self, firm: FirmId, person: &Person) -> Context {
        Context { actor: Some(person.actor()), ..self.context(firm) }
    }

    /// A trader with the password [`PASSWORD`].
    pub async fn person(&self, firm: FirmId, email: &str) -> Person {
        let registration = Registration {
            email: email.to_owned(),
            password: Password::new(PASSWORD),
            display_name: email.split('@').next().unwrap_or_default().to_owned(),
            region: None,
        };
        self.person_with(firm, registration, Role::Trader).await
    }

    /// Somebody who watches the firm's risk.
    pub async fn risk(&self, firm: FirmId, email: &str) -> Person {
        let (email, password) = (email.to_owned(), Password::new(PASSWORD));
        let registration = Registration { email, password, display_name: "Risk".to_owned(), region: None };
        self.person_with(firm, registration, Role::Risk).await
    }

    /// Somebody who runs the firm. People are named by firm, because each has an email of its own.
    pub async fn admin(&self, firm: FirmId, name: &str) -> Person {
        let (email, password) = (format!("{name}@{firm}.example"), Password::new(PASSWORD));
        let registration = Registration { email, password, display_name: name.to_owned(), region: None };
        self.person_with(firm, registration, Role::Admin).await
    }

    /// An entry of the audit log about somebody, by themselves.
    pub fn entry(&self, firm: FirmId, action: &str, person: &Person) -> AuditEntry {
        AuditEntry {
            firm,
            at: self.clock.now(),
            actor: Some(person.id),
            action: action.to_owned(),
            object_kind: "person",
            object: person.id.to_string(),
            request: None,
            purpose: String::new(),
            digests: Digests::default(),
            detail: serde_json::json!({}),
        }
    }

    async fn person_with(&self, firm: FirmId, registration: Registration, role: Role) -> Person {
        let roles = vec![role];
        self.identity
            .ensure_person(&self.context(firm), registration, roles)
            .await
            .expect("the person is set up")
    }

    /// Puts a program on sale for 490 dollars.
    pub async fn publish(&self, firm: FirmId, slug: &str, program: Program) {
        let fee = Money::parse("490", Currency::parse("USD").unwrap()).unwrap();
        let publication = Publication { slug: slug.to_owned(), program, fee, position: 1 };
        self.catalogue
            .publish_version(&self.context(firm), publication)
            .await
            .expect("the program is published");
    }

    /// Buys and pays what is on sale under a slug; the challenge still has no account.
    pub async fn challenge(&self, firm: FirmId, person: &Person, slug: &str) -> Unopened {
        let context = self.context_of(firm, person);
        let offer = self.catalogue.get(firm, slug).await.expect("the program is on sale");
        let key = Key::parse(&context.request.to_string()).unwrap();
        let purchase =
            self.purchases.create(&context, &key, slug, offer.version.as_str()).await.expect("it is bought");
        let paid = self.purchases.capture(&context, purchase.id).await.expect("it is paid");
        Unopened {
            firm,
            challenge: paid.challenge.expect("a paid purchase has a challenge"),
            version: paid.version,
        }
    }
}

/// EURUSD, XAUUSD and USDJPY in hundredths of a lot; stale after a minute.
pub fn instruments() -> Arc<Instruments> {
    let instrument =
        |symbol: &str, base: &str, quote: &str, price_decimals, contract_size, most| Instrument {
            symbol: Symbol::parse(symbol).unwrap(),
            description: symbol.to_owned(),
            source: "test".to_owned(),
            base: base.to_owned(),
            quote: Currency::parse(quote).unwrap(),
            price_decimals,
            price_min: Price(1_000),
            price_max: Price(1_000_000),
            quantity_decimals: 2,
            contract_size,
            quantity_min: Quantity(1),
            quantity_step: Quantity(1),
            quantity_max: Quantity(most),
            stale_after: Span::from_seconds(60),
        };
    let list = vec![
        instrument("EURUSD", "EUR", "USD", 5, 100_000, 10_000),
        instrument("XAUUSD", "XAU", "USD", 2, 100, 10_000),
        instrument("USDJPY", "USD", "JPY", 3, 100_000, 200),
    ];
    Arc::new(Instruments::new(list).expect("the table is sound"))
}

/// Two phases over 100,000 dollars: 5 % a day, 10 % in all, 10 % to pass on at least one day; then 10 % in all, and rest
/// around releases.
pub fn program(name: &str) -> Program {
    let text = format!(
        r#"
        name = "{name}"
        currency = "USD"
        initial_balance = "100000"
        reset = {{ zone = "Europe/Prague", time = "00:00" }}
        [terms]
        instruments = ["EURUSD", "XAUUSD", "USDJPY"]
        leverage = 100
        commission_per_lot = "3"
        stop_out = "50"
        [[phases]]
        name = "Evaluation"
        rules = [
          {{ kind = "daily_loss", reference = "balance", limit = {{ percent_of_initial = "5" }}, breach = "below" }},
          {{ kind = "max_loss", trail = "static", limit = {{ percent_of_initial = "10" }}, breach = "below" }},
          {{ kind = "profit_target", limit = {{ percent_of_initial = "10" }}, flat = true }},
          {{ kind = "min_trading_days", days = 1 }},
        ]
        [[phases]]
        name = "Funded"
        rules = [
          {{ kind = "max_loss", trail = "static", limit = {{ percent_of_initial = "10" }}, breach = "below" }},
          {{ kind = "news_window", before_minutes = 2, after_minutes = 2, actions = ["open"], effect = "flag" }},
        ]
        "#
    );
    Program::from_toml(&text).unwrap()
}
