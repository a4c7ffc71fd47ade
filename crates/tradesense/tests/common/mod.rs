//! A platform in this process, on a clock and a market that the test moves, spoken to over HTTP as a trader would.

#![allow(dead_code, reason = "each test file uses its part of the stage")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on stops"
)]

pub mod client;
pub mod cluster;

use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use app::catalogue::Publication;
use app::identity::{Cost, Password, Registration};
use app::payments::Providers;
use app::trading::{Compared, Comparison, IncomingQuote, Sequencer, Told, Witness, compare};
use app::{Context, Role};
use engine::Instruments;
use kernel::{
    Clock as _, Currency, FirmId, ManualClock, Money, OwnerId, RequestId, SeededRng, Span, Symbol, Timestamp,
};
use providers::feeds::{FeedQuote, extract, ticks};
use rules::Program;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::TestDatabase;
use tradesense::payments::Payments;
use tradesense::platform::{Platform, Roles, Settings};

pub use testkit::PASSWORD;

/// Where the stage's market begins: five minutes before the release.
pub const OPENING: &str = "2014-05-02T12:25:00Z";

/// The host name of another firm on the same platform.
pub const NEIGHBOUR: &str = "neighbour.example";

/// A program with little in it.
pub const PLAIN: &str = r#"
    name = "Plain"
    currency = "USD"
    initial_balance = "10000"
    reset = { zone = "Etc/UTC", time = "00:00" }
    [terms]
    instruments = ["EURUSD", "USDJPY"]
    leverage = 30
    commission_per_lot = "3"
    stop_out = "50"
    [[phases]]
    name = "Evaluation"
    rules = [
      { kind = "max_loss", trail = "static", limit = { percent_of_initial = "10" }, breach = "below" },
      { kind = "profit_target", limit = { percent_of_initial = "10" }, flat = true },
    ]
"#;

/// The platform and the hands that move its world.
pub struct Stage {
    pub platform: Platform,
    pub clock: Arc<ManualClock>,
    pub instruments: Arc<Instruments>,
    pub firm: FirmId,
    pub database: TestDatabase,
    pub directory: TempDir,
    pub base: String,
    payments: Payments,
    sequencer: Sequencer,
    ticks: Ticks,
}

type Ticks = Peekable<Box<dyn Iterator<Item = FeedQuote> + Send>>;

/// Somebody at a browser, or at curl.
#[derive(Clone)]
pub struct Trader {
    pub http: reqwest::Client,
    pub base: String,
}

/// The shipped ticks of one symbol, in order.
fn recorded(symbol: &str, instruments: &Instruments) -> Box<dyn Iterator<Item = FeedQuote> + Send> {
    let symbol = Symbol::parse(symbol).unwrap();
    let days = extract().unwrap().into_iter().filter(|day| day.symbol == symbol).collect();
    let decimals = instruments.iter().map(|(_, it)| (it.symbol.clone(), it.price_decimals)).collect();
    let merged = ticks::merge(days, &decimals).unwrap().map(|tick| tick.unwrap());
    Box::new(merged.skip_while(|tick| tick.source_time < at(OPENING)))
}

/// The zip that the recorded ticks come from, for a program that shares no code with ours.
pub fn recorded_zip(symbol: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join(format!("../../assets/ticks/oanda/{}/20140502_quote.zip", symbol.to_lowercase()))
}

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

struct Nobody;

impl Witness for Nobody {
    fn told(&mut self, _: Told<'_>) {}
}

/// Applies the journal and the quote log of shard 0 to an empty engine: it must reach what is stored, bit for bit.
pub async fn replays_to_the_stored_state(database: &TestDatabase, directory: &Path) -> Comparison {
    let instruments = Arc::new(tradesense::instruments::shipped().unwrap());
    let store = store::Store::connect(&store::Settings {
        url: database.login_url().await,
        instruments: Arc::clone(&instruments),
        app_connections: 1,
        engine_connections: 1,
        worker_connections: 1,
        vault: testkit::vault(),
    })
    .await
    .unwrap();
    let quotes = tradesense::replay::quotes_in(directory.join("quotes"));
    let compared = compare(&store, &quotes, &instruments, 0, Compared::All, Nobody).await.unwrap();
    let (comparison, Nobody) = compared.unwrap();
    assert!(comparison.equal(), "{comparison:#?}");
    assert!(comparison.state_hash.is_some() && comparison.missing_quotes.is_empty());
    assert_eq!(store.faults().await.unwrap(), []);
    comparison
}

/// A program from TOML.
pub fn program(text: &str) -> Program {
    toml::from_str(text).unwrap()
}

impl Stage {
    /// A platform at 12:25 UTC of 2 May 2014 with these programs on sale, before its first quote.
    pub async fn open(programs: &[(&str, Program)]) -> Self {
        Self::open_with(programs, Arc::new(ManualClock::new(at(OPENING))), |_| Providers::default()).await
    }

    /// The same, by a clock at that instant, with providers of money of its firm.
    pub async fn open_with(
        programs: &[(&str, Program)],
        clock: Arc<ManualClock>,
        providers: impl FnOnce(FirmId) -> Providers,
    ) -> Self {
        let database = TestDatabase::new().await;
        let new = store::NewFirm { slug: "stage".to_owned(), name: "Stage".to_owned(), domains: Vec::new() };
        let firm = store::Store::ensure_firm(&database.url(), &new, clock.now()).await.unwrap();
        let neighbour = store::NewFirm {
            slug: "neighbour".to_owned(),
            name: "Neighbour".to_owned(),
            domains: vec![NEIGHBOUR.to_owned()],
        };
        store::Store::ensure_firm(&database.url(), &neighbour, clock.now()).await.unwrap();
        let instruments = Arc::new(tradesense::instruments::shipped().unwrap());
        let ticks = recorded("EURUSD", &instruments).peekable();
        let payments = Payments::Given(providers(firm));
        let stage =
            Self::start(database, tempfile::tempdir().unwrap(), clock, firm, instruments, ticks, payments)
                .await;
        let rng = SeededRng::new(1);
        let context = Context { firm, actor: None, request: RequestId::random(stage.clock.now(), &rng) };
        for (position, (slug, program)) in (1..).zip(programs) {
            let fee = Money::parse("100.00", Currency::parse("USD").unwrap()).unwrap();
            let publication =
                Publication { slug: (*slug).to_owned(), program: program.clone(), fee, position };
            stage.platform.web.catalogue.publish_version(&context, publication).await.unwrap();
        }
        stage
    }

    /// The same world after a stop and a start; the market goes on where it was. The address is another one.
    pub async fn reopen(self, forget_quotes: bool) -> Self {
        let Self {
            platform, sequencer, database, directory, clock, firm, instruments, ticks, payments, ..
        } = self;
        drop(sequencer);
        platform.stop().await.unwrap();
        if forget_quotes {
            std::fs::remove_dir_all(directory.path().join("quotes")).unwrap();
        }
        Self::start(database, directory, clock, firm, instruments, ticks, payments).await
    }

    async fn start(
        database: TestDatabase,
        directory: TempDir,
        clock: Arc<ManualClock>,
        firm: FirmId,
        instruments: Arc<Instruments>,
        ticks: Ticks,
        payments: Payments,
    ) -> Self {
        let mut platform = Platform::start(Settings {
            listening: Arc::default(),
            figures: Vec::new(),
            database_url: database.login_url().await,
            app_connections: 4,
            instruments: Arc::clone(&instruments),
            clock: clock.clone(),
            rng: Arc::new(SeededRng::new(u64::try_from(clock.now().micros()).unwrap())),
            quotes: directory.path().join("quotes"),
            archive: directory.path().join("quotes-archive"),
            listen: "127.0.0.1:0".parse().unwrap(),
            edges: serve::edges::Edges::default(),
            listen_ops: Some("127.0.0.1:0".parse().unwrap()),
            otherwise: Some(firm),
            demo: true,
            shards: 1,
            roles: Roles::ALL,
            listen_analytics: "127.0.0.1:0".parse().unwrap(),
            replicas: Vec::new(),
            smtp: None,
            bounces: None,
            payments: payments.clone(),
            listen_webhooks: Some("127.0.0.1:0".parse().unwrap()),
            public_url: "http://127.0.0.1:8000".to_owned(),
            shared: None,
            owner: OwnerId::derived(&[b"test"]),
            password_cost: Cost { memory: 64, passes: 1, lanes: 1 },
            receipt_key: Arc::new(audit::SigningKey::from_secret(&[7; 32])),
            audit_signers: Arc::new(
                tradesense::keys::audit_signers(vec![audit::SigningKey::from_secret(&[8; 32])]).unwrap(),
            ),
            audit_copies: providers::copies::Place::Folder(directory.path().join("audit-copies")),
            people_keys: Arc::new(tradesense::keys::people_keys(directory.path()).unwrap()),
            homes: app::privacy::Homes::default(),
        })
        .await
        .unwrap();
        let sequencer = platform.take_sequencer().unwrap();
        let base = format!("http://{}", platform.address.unwrap());
        Self { platform, clock, instruments, firm, database, directory, base, payments, sequencer, ticks }
    }

    /// A browser that nobody has signed in with.
    pub fn visitor(&self) -> Trader {
        self.browser(reqwest::header::HeaderMap::new())
    }

    /// A browser at the neighbour's host name, with a session cookie of ours if one is given.
    pub fn neighbours_visitor(&self, session: Option<&str>) -> Trader {
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("host", NEIGHBOUR.parse().unwrap());
        if let Some(session) = session {
            headers.insert("cookie", session.parse().unwrap());
        }
        self.browser(headers)
    }

    fn browser(&self, headers: reqwest::header::HeaderMap) -> Trader {
        testkit::with_cryptography();
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .cookie_store(true)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Trader { http, base: self.base.clone() }
    }

    /// A registered, signed-in trader.
    pub async fn trader(&self, name: &str) -> Trader {
        let trader = self.visitor();
        let email = format!("{name}@example.com");
        let body = json!({ "email": email, "password": PASSWORD, "display_name": name });
        let (status, person) = trader.post("/v1/auth/register", None, &body).await;
        assert_eq!(status, 201, "{person}");
        trader
    }

    /// Somebody of the firm's staff, signed in.
    pub async fn staff(&self, email: &str, role: Role) -> Trader {
        self.staff_with(email, &[role]).await
    }

    /// Somebody of the firm's staff with several roles, signed in.
    pub async fn staff_with(&self, email: &str, roles: &[Role]) -> Trader {
        let request = RequestId::random(self.clock.now(), &SeededRng::new(9));
        let context = Context { firm: self.firm, actor: None, request };
        let registration = Registration {
            email: email.to_owned(),
            password: Password::new(PASSWORD),
            display_name: "Staff".to_owned(),
            region: None,
        };
        self.platform.web.identity.ensure_person(&context, registration, roles.to_vec()).await.unwrap();
        let staff = self.visitor();
        let body = json!({ "email": email, "password": PASSWORD });
        assert_eq!(staff.post("/v1/auth/sign-in", None, &body).await.0, 200);
        staff
    }

    /// What the operator's machines get: the status and the text.
    pub async fn ask_ops(&self, path: &str) -> (u16, String) {
        let ops = self.platform.ops_address.unwrap();
        testkit::with_cryptography();
        let response = reqwest::get(format!("http://{ops}{path}")).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Plays the recorded ticks up to and including the first at or after an instant; the clock stands there then.
    pub async fn play_through(&mut self, until: &str) {
        let until = at(until);
        let mut batch: Vec<IncomingQuote> = Vec::new();
        loop {
            let tick = self.ticks.next().expect("the recording is long enough");
            let (reached, time) = (tick.source_time >= until, tick.source_time);
            // A quote is taken soon after it was made, as a live one would be.
            let starts_anew = batch.first().is_some_and(|first| {
                let span = time.since(first.source_time).unwrap();
                span.micros() > 0 && (batch.len() >= 64 || span >= Span::from_seconds(5))
            });
            if starts_anew {
                self.hand_over(&mut batch).await;
            }
            batch.push(tradesense::market::incoming(tick));
            if reached {
                self.hand_over(&mut batch).await;
                self.settle().await;
                return;
            }
        }
    }

    /// Hands quotes over as a feed would; the clock then stands at the last of them.
    pub async fn hand_over(&mut self, batch: &mut Vec<IncomingQuote>) {
        self.clock.set(batch.last().unwrap().source_time);
        self.sequencer.accept(batch).await.unwrap();
        batch.clear();
    }

    /// Lets time pass without quotes.
    pub async fn wait_until(&mut self, until: &str) {
        self.clock.set(at(until));
        self.sequencer.tick().await.unwrap();
        self.settle().await;
    }

    /// Returns when the shard has done everything handed to it so far: it answers in order.
    pub async fn settle(&self) {
        let nobody = kernel::AccountId::derived(&[b"nobody"]);
        assert!(self.platform.desk.view(nobody).await.unwrap().is_none());
    }

    /// Stops everything; the database and the quote log stay until the parts are dropped.
    pub async fn close(self) -> (TestDatabase, TempDir) {
        let Self { platform, sequencer, database, directory, .. } = self;
        drop(sequencer);
        platform.stop().await.unwrap();
        (database, directory)
    }
}

impl Trader {
    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.http.get(format!("{}{path}", self.base))).await
    }

    pub async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
        let mut request = self.http.post(format!("{}{path}", self.base)).json(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        answer(request).await
    }

    pub async fn patch(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        answer(self.http.patch(format!("{}{path}", self.base)).header("Idempotency-Key", key).json(body))
            .await
    }

    pub async fn delete(&self, path: &str, key: &str) -> (u16, Value) {
        answer(self.http.delete(format!("{}{path}", self.base)).header("Idempotency-Key", key)).await
    }

    /// Buys a program on the sandbox's page and gives the id of the account that opens.
    pub async fn buy(&self, slug: &str) -> String {
        let (status, program) = self.get(&format!("/v1/programs/{slug}")).await;
        assert_eq!(status, 200, "{program}");
        let body = json!({ "program": slug, "version": program["version"] });
        let (status, purchase) = self.post("/v1/purchases", Some(&format!("buy-{slug}")), &body).await;
        assert_eq!(status, 201, "{purchase}");
        let page = format!("{}{}", self.base, purchase["checkout_url"].as_str().unwrap());
        let shown = self.http.get(&page).send().await.unwrap();
        assert_eq!(shown.status(), 200);
        let paid = self.http.post(format!("{page}/pay")).send().await.unwrap();
        assert_eq!(paid.status(), 303);
        let challenge = self.get(&format!("/v1/purchases/{}", purchase["id"].as_str().unwrap())).await.1;
        let challenge = challenge["challenge_id"].clone();
        let accounts = self.accounts_of(&challenge, 1).await;
        accounts[0]["id"].as_str().unwrap().to_owned()
    }

    /// The accounts of a challenge once there are so many.
    pub async fn accounts_of(&self, challenge: &Value, count: usize) -> Vec<Value> {
        for _ in 0..1_000 {
            let (_, challenges) = self.get("/v1/challenges").await;
            let found = challenges["items"].as_array().unwrap().iter().find(|it| it["id"] == *challenge);
            let accounts = found.and_then(|it| it["accounts"].as_array()).cloned().unwrap_or_default();
            if accounts.len() >= count {
                return accounts;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("challenge {challenge} never had {count} account(s)");
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    if status >= 400 {
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert_eq!(kind, "application/problem+json", "a refusal is always a problem document");
    }
    let text = response.text().await.unwrap();
    let body = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    (status, body)
}
