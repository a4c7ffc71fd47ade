//! The owner of a shard, driven by hand: applies inputs to a real engine and commits when told to.
#![allow(dead_code, reason = "each test file uses its own part")]
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use app::AppError;
use app::catalogue::{
    Addon, AddonChange, AddonPrice, Country, Coupon, Off, Price as OtherPrice, ShelfChange, Tax,
};
use app::events::{Consumer as _, Failed, Message, MessageStore as _};
use app::identity::Person;
use app::jobs::NewJob;
use app::kyc::{DocumentKind, Kyc, SandboxVerifier};
use app::latency::{Meter, Passage, Received};
use app::ledger::{Account, Hold, HoldState, LedgerStore as _, Outcome as HoldOutcome, Provider, posting};
use app::notifications::{Group, NotificationStore as _, Preference, SECRET_BYTES, Secret, Suppression};
use app::operations::Operations;
use app::payments::Providers;
use app::payments::checkouts::{Checkout, CheckoutState, CheckoutStore as _};
use app::payments::notices::{Claimed, NewNotice, NoticeStore as _, Tried};
use app::payments::port::{About, Notice, ProviderName};
use app::payouts::{
    Answer, BankAccount, Certificates, NewBatch, Payee, Payout, PayoutState, PayoutStore as _, Payouts,
    Request as PayoutRequest, Settings as PayoutSettings, Subject, Taker, in_money,
};
use app::privacy::{Erased, PrivacyStore as _};
use app::purchases::{Order, Unopened};
use app::receipts::{Issued, ReceiptStore as _};
use app::releases::NewRelease;
use app::trading::{
    Batch, Changed, Decided, Journaled, LeaseStore as _, Loaded, Origin, OutboxEntry, ShardCommit,
    ShardError, ShardStore,
};
use app::webhooks::{
    Attempt, Came, Endpoint, NewDelivery, NewEndpoint, Next, UrlPolicy, WebhookStore as _, Webhooks,
};
use async_trait::async_trait;
use audit::SigningKey;
use audit::note::NoteSigner;
use engine::{Act, Command, Engine, Event, Input, Key, OrderKind, Outcome, Place, Quote, Ticket};
use kernel::{
    AccountId, Amount, CheckoutId, Currency, EntryId, FirmId, HoldId, Money, OwnerId, PayoutBatchId, Percent,
    Price, PurchaseId, Quantity, Rounding, Side, Span, Symbol, Timestamp,
};
use rules::payout::Precheck;
use rules::{Figure, Objective};
use testkit::{START, World, instruments, program};
use workers::notifications::Notifier;
use workers::sealer::Sealer;
use workers::webhooks::WebhookTaker;

pub struct Owner<'a> {
    pub world: &'a World,
    pub shard: i16,
    pub engine: Engine,
    pub epoch: i64,
    pub seq: i64,
    pub position: u64,
    pub committed: u64,
    pub now: Timestamp,
    pub events: Vec<Event>,
    pub journal: Vec<Journaled>,
    keys: u32,
}

impl<'a> Owner<'a> {
    /// Takes a shard over and restores its engine.
    pub async fn take(world: &'a World, shard: i16) -> Self {
        let loaded = take_over(world, shard).await;
        let (epoch, seq, position, at) =
            (loaded.epoch, loaded.seq, loaded.state.last.position, loaded.state.at);
        let engine = loaded.state.restore(instruments()).unwrap();
        let now = at.max(Timestamp::parse(START).unwrap());
        let (events, journal) = (Vec::new(), Vec::new());
        let committed = position;
        Self { world, shard, engine, epoch, seq, position, committed, now, events, journal, keys: 0 }
    }

    pub fn wait(&mut self, span: Span) {
        self.now = self.now.after(span).unwrap();
    }

    pub fn clock(&mut self) {
        self.engine.apply(self.now, &Input::Clock, &mut self.events).unwrap();
    }

    /// One quote, a millisecond after the last input.
    pub fn quote(&mut self, symbol: &str, bid: i64, ask: i64) {
        self.wait(Span::from_millis(1));
        self.position += 1;
        let instrument = instruments().find(&Symbol::parse(symbol).unwrap()).unwrap();
        let quote = Quote { instrument, bid: Price(bid), ask: Price(ask), source_time: self.now };
        self.engine.apply(self.now, &Input::Quotes(self.position, vec![quote]), &mut self.events).unwrap();
    }

    pub fn command(&mut self, command: Command, person: Option<&Person>) -> Outcome {
        self.wait(Span::from_millis(1));
        let input = Input::Command(command.clone());
        let answered = self.engine.apply(self.now, &input, &mut self.events).unwrap().unwrap();
        if answered.fresh {
            self.seq += 1;
            self.journal.push(Journaled {
                seq: self.seq,
                firm: self.engine.firm(command.account).unwrap(),
                at: self.now,
                after_quote: self.position,
                command,
                outcome: answered.outcome,
                origin: Origin { person: person.map(|person| person.id), request: None },
            });
        }
        answered.outcome
    }

    /// The same under a key of its own.
    pub fn act(&mut self, account: AccountId, act: Act) -> Outcome {
        self.keys += 1;
        let key = Key::parse(&format!("key-{}-{}", self.epoch, self.keys)).unwrap();
        self.command(Command { account, key, act }, None)
    }

    pub async fn open(&mut self, unopened: &Unopened) -> AccountId {
        let program = self.world.store.program(&unopened.version).await.unwrap().unwrap();
        self.engine.learn(unopened.version.clone(), program);
        let command = unopened.command().unwrap();
        let account = command.account;
        self.command(command, None).unwrap();
        account
    }

    pub fn buy(&mut self, account: AccountId, symbol: &str, lots: i64) -> Outcome {
        self.act(account, market(symbol, Side::Buy, lots))
    }

    pub fn close(&mut self, account: AccountId, position: Ticket) -> Outcome {
        self.act(account, Act::Close { position, quantity: None })
    }

    pub fn batch(&mut self) -> Batch {
        self.engine.settle().unwrap();
        let mark = self.engine.mark().into_owned();
        let changed = self.engine.take_changed().unwrap();
        let committed = self.committed;
        let standing = self.engine.market().all().iter().flatten();
        let journal = std::mem::take(&mut self.journal);
        let after_seq = self.seq - i64::try_from(journal.len()).unwrap();
        let events: Vec<Decided> = std::mem::take(&mut self.events)
            .into_iter()
            .map(|event| Decided {
                firm: self.engine.firm(event.account).unwrap(),
                at: self.now.after(Span::from_millis(3)).unwrap(),
                request: None,
                event,
            })
            .collect();
        let outbox = events.iter().map(|Decided { firm, event, .. }| OutboxEntry {
            firm: *firm,
            at: event.at,
            aggregate: format!("account:{}", event.account),
            topic: "test",
            payload: serde_json::json!({}),
            request: None,
        });
        Batch {
            shard: self.shard,
            epoch: self.epoch,
            after_seq,
            seq: self.seq,
            quote_position: self.position,
            at: self.engine.now().max(self.now),
            outbox: outbox.collect(),
            journal,
            accounts: changed
                .into_iter()
                .map(|(id, stored)| Changed { account: self.engine.account(id).unwrap().clone(), stored })
                .collect(),
            standing: standing.filter(|standing| standing.position > committed).copied().collect(),
            events,
            refused_quotes: Vec::new(),
            mark: Some(mark),
        }
    }

    pub async fn commit(&mut self) -> Result<ShardCommit, ShardError> {
        let batch = self.batch();
        let proof = self.world.store.commit(&batch).await?;
        let meter = Meter::default();
        for Decided { firm, at, event, .. } in &batch.events {
            let (received, received_at) = (Received::Verdict, event.at);
            let passage =
                Passage { firm: *firm, account: event.account, received, received_at, decided_at: *at };
            meter.add(&[passage], at.after(Span::from_millis(4)).unwrap());
        }
        meter.store(&*self.world.store).await.unwrap();
        self.committed = self.position;
        Ok(proof)
    }
}

/// Whoever takes a shard over by hand.
pub fn somebody() -> OwnerId {
    OwnerId::derived(&[b"somebody"])
}

/// Leases every shard to one owner, however they were leased before, and takes one over.
pub async fn take_over(world: &World, shard: i16) -> Loaded {
    world.store.shards(10).await.unwrap();
    world.store.lease(somebody(), &[], Span::from_seconds(50)).await.unwrap();
    world.store.take_over(shard, somebody()).await.unwrap()
}

/// The same, should it be refused.
pub async fn refused_take_over(world: &World, shard: i16) -> ShardError {
    world.store.take_over(shard, somebody()).await.unwrap_err()
}

pub fn market(symbol: &str, side: Side, lots: i64) -> Act {
    Act::Place(Place {
        symbol: Symbol::parse(symbol).unwrap(),
        side,
        kind: OrderKind::Market,
        quantity: Quantity(lots * 100),
        stop_loss: None,
        take_profit: None,
    })
}

/// One firm's people, sale and trading, with a row in every table.
pub struct Story {
    pub firm: FirmId,
    pub trader: Person,
    pub token: String,
    /// Passed its first phase.
    pub passed: AccountId,
    /// Breached its daily loss.
    pub breached: AccountId,
    /// The next phase of the one that passed; a rule of it was decided about by hand.
    pub decided: AccountId,
}

/// A firm where somebody signs in, buys twice, passes once and fails once. Takes the shard over and leaves it
/// committed.
pub async fn story(world: &World, slug: &str, shard: i16) -> Story {
    let firm = world.firm(slug).await;
    let trader = world.person(firm, &format!("trader@{slug}.example")).await;
    let password = app::identity::Password::new(testkit::PASSWORD);
    let (_, token) =
        world.identity.sign_in(&world.context(firm), &trader.email, password, "::1").await.unwrap();
    world.publish(firm, "two-step", program(slug)).await;
    shelf(world, firm, &trader).await;
    let first = world.challenge(firm, &trader, "two-step").await;
    let second = with_coupon(world, firm, &trader).await;

    let mut owner = Owner::take(world, shard).await;
    owner.quote("EURUSD", 110_000, 110_002);
    owner.quote("USDJPY", 150_000, 150_010);
    let (passed, breached) = (owner.open(&first).await, owner.open(&second).await);
    let rule = owner.engine.view(passed).unwrap().unwrap().phase.rules.first().unwrap().clone();
    let reason = "the feed was down".to_owned();
    let to = Some(Box::new(rule));
    owner.act(passed, Act::Override { rule: 0, to, reason, by: trader.id }).unwrap();
    owner.buy(passed, "EURUSD", 5).unwrap();
    owner.buy(passed, "USDJPY", 1).unwrap();
    owner.buy(breached, "EURUSD", 10).unwrap();
    let limit = Place {
        symbol: Symbol::parse("EURUSD").unwrap(),
        side: Side::Buy,
        kind: OrderKind::Limit(Price(100_000)),
        quantity: Quantity(1),
        stop_loss: Some(Price(90_000)),
        take_profit: None,
    };
    owner.act(passed, Act::Place(limit)).unwrap();
    let _proof = owner.commit().await.unwrap();
    owner.quote("EURUSD", 109_900, 109_902);
    owner.wait(Span::from_days(1).unwrap());
    owner.clock();
    owner.quote("EURUSD", 109_300, 109_302);
    owner.quote("EURUSD", 112_700, 112_702);
    owner.quote("USDJPY", 150_000, 150_010);
    let _proof = owner.commit().await.unwrap();
    let open: Vec<Ticket> = owner.engine.account(passed).unwrap().positions.keys().copied().collect();
    for ticket in open {
        owner.close(passed, ticket).unwrap();
    }
    let reason = "A late payment.".to_owned();
    let next = owner.engine.accounts().find(|it| it.firm == firm && it.phase == 1).unwrap().id;
    owner.act(next, Act::Override { rule: 0, to: None, reason, by: trader.id }).unwrap();
    let _proof = owner.commit().await.unwrap();
    // One receipt is made, the others are still due.
    let due = world.store.due(100).await.unwrap();
    let due = due.iter().find(|due| due.account == passed && due.number == 1).unwrap();
    let issued = Issued {
        firm,
        account: passed,
        number: 1,
        issued_at: owner.now,
        durable_at: None,
        document: "{}".to_owned(),
    };
    assert_eq!(due.firm, firm);
    world.store.keep(&[issued]).await.unwrap();
    let risk = world.risk(firm, &format!("risk@{slug}.example")).await;
    let release = NewRelease {
        name: "Payrolls".to_owned(),
        at: Timestamp::parse("2026-01-09T13:30:00Z").unwrap(),
        currencies: vec!["USD".to_owned()],
        symbols: Vec::new(),
    };
    world.releases.add(&world.context_of(firm, &risk), release).await.unwrap();
    // Somebody who was there and is erased.
    let gone = world.person(firm, &format!("gone@{slug}.example")).await;
    let erased = Erased { firm, person: gone.id, at: owner.now, by: None };
    let entry = world.entry(firm, "privacy.erase", &gone);
    world.store.erase(&erased, &entry).await.unwrap();
    work(world, firm).await;
    telling(world, firm, &trader).await;
    money(world, firm, &trader).await;
    books(world, firm).await;
    paying(world, firm, &trader, next, passed).await;
    while !world.store.rebuild_some(firm, 100).await.unwrap() {}
    let copies = tempfile::tempdir().unwrap();
    let sealer = sealer(world, &[9], copies.path());
    assert!(sealer.take_over(1).await.unwrap().seal().await.unwrap() > 0);
    Story { firm, trader, token: token.reveal().to_owned(), passed, breached, decided: next }
}

/// The sealer of a test, whose keys have these secrets.
pub fn sealer(world: &World, secrets: &[u8], copies: &std::path::Path) -> Sealer {
    let origin = "audit.example.com/main";
    let signer = |secret: &u8| NoteSigner::new(origin, SigningKey::from_secret(&[*secret; 32])).unwrap();
    Sealer {
        store: world.store.clone(),
        copies: std::sync::Arc::new(providers::copies::Folder::new(copies)),
        signers: std::sync::Arc::new(secrets.iter().map(signer).collect()),
        clock: world.clock.clone(),
        health: std::sync::Arc::default(),
    }
}

/// Something of everything that stands beside the programs. The coupon lets off less than a cent.
async fn shelf(world: &World, firm: FirmId, trader: &Person) {
    let admin = world.context_of(firm, &world.admin(firm, "admin").await);
    let slug = || "two-step".to_owned();
    let addon = Addon {
        code: "again".to_owned(),
        name: "Once more".to_owned(),
        price: AddonPrice::Amount(usd("50")),
        change: AddonChange::Resets { included: 1 },
    };
    let price = OtherPrice { country: Country::parse("IN"), group: None, price: usd("400") };
    let coupon = Coupon {
        code: "ALMOST".to_owned(),
        off: Off::Percent(Percent::parse("0.0001").unwrap()),
        slugs: std::collections::BTreeSet::new(),
        starts_at: None,
        ends_at: None,
        most_uses: Some(9),
        most_per_person: Some(2),
        only: None,
        stackable: false,
        least: None,
        disabled: false,
    };
    for change in [
        ShelfChange::Addon { slug: slug(), addon, on_sale: true },
        ShelfChange::Price { slug: slug(), price },
        ShelfChange::Terms { slug: slug(), trial: false, reset_fee: Some(usd("99")) },
        ShelfChange::Coupon(coupon),
        ShelfChange::Tax(None, Some(Tax::NONE)),
        ShelfChange::Group(trader.id, Some("friends".to_owned())),
    ] {
        world.catalogue.change_shelf(&admin, change).await.unwrap();
    }
}

/// So many dollars.
pub fn usd(text: &str) -> Money {
    Money::parse(text, Currency::parse("USD").unwrap()).unwrap()
}

async fn with_coupon(world: &World, firm: FirmId, trader: &Person) -> Unopened {
    let context = world.context_of(firm, trader);
    let offer = world.catalogue.get(firm, "two-step").await.unwrap();
    let order = Order {
        slug: "two-step".to_owned(),
        version: offer.version.to_string(),
        coupons: vec!["almost".to_owned()],
        ..Order::default()
    };
    let key = Key::parse(&context.request.to_string()).unwrap();
    let bought = world.purchases.buy(&context, &key, order).await.unwrap();
    pages(world, firm, trader, bought.id).await;
    let paid = world.purchases.capture(&context, bought.id).await.unwrap();
    Unopened { firm, challenge: paid.challenge.unwrap(), version: paid.version }
}

/// A page of a provider's, and what the provider told of somebody and of nobody.
async fn pages(world: &World, firm: FirmId, trader: &Person, purchase: PurchaseId) {
    let at = Timestamp::parse(START).unwrap();
    let page = Checkout {
        id: CheckoutId::derived(&[b"page", firm.uuid().as_bytes()]),
        purchase,
        person: trader.id,
        provider: ProviderName::Stripe,
        session: None,
        page: None,
        price: usd("1"),
        state: CheckoutState::Opening,
        asked_at: at,
        expires_at: at.after(Span::from_seconds(60)).unwrap(),
    };
    world.store.asked(firm, &page).await.unwrap();
    let notice = |id: &str, about| Notice {
        provider: ProviderName::Stripe,
        id: id.to_owned(),
        kind: "checkout.session.completed".to_owned(),
        about,
        at,
    };
    let told = [notice("evt_1", About::Checkout("cs_1".to_owned())), notice("evt_2", About::Other)]
        .map(|notice| NewNotice::new(notice, b"{}".to_vec(), at).unwrap());
    assert_eq!(world.store.keep_notices(firm, &told).await.unwrap(), 2);
    let claimed = Claimed {
        firm,
        provider: ProviderName::Stripe,
        event: "evt_1".to_owned(),
        about: About::Checkout("cs_1".to_owned()),
        attempts: 1,
    };
    world.store.settle_notice(&claimed, &Tried::Done(Some(trader.id)), at).await.unwrap();
}

/// A trader is owed something, a part of it is held and used; the books are summed.
async fn money(world: &World, firm: FirmId, trader: &Person) {
    let at = Timestamp::parse(START).unwrap();
    let id = EntryId::derived(&[b"reward", firm.uuid().as_bytes()]);
    let event = posting::Event { id, cause: "payout:1".to_owned(), at };
    let reward = posting::reward(event, trader.id, usd("100")).unwrap();
    world.store.post(firm, &[reward], at).await.unwrap();
    let hold = Hold {
        id: HoldId::derived(&[b"hold", firm.uuid().as_bytes()]),
        account: Account::TraderPayable(trader.id),
        amount: usd("60"),
        cause: "payout:1".to_owned(),
        opened_at: at,
        expires_at: None,
        state: HoldState::Pending,
    };
    world.store.open_hold(firm, &hold, at).await.unwrap();
    let to = Account::PayoutClearing(Provider::parse("sandbox").unwrap());
    world.store.end_hold(firm, hold.id, &HoldOutcome::Post(usd("50"), to), at).await.unwrap().unwrap();
    snapshot(world, firm).await;
    refunds_and_disputes(world, firm).await;
}

/// A refund and a dispute of which no provider knows more than a question.
async fn refunds_and_disputes(world: &World, firm: FirmId) {
    let mut owner = world.database.superuser().await;
    for sql in [
        "insert into refunds (firm_id, id, purchase_id, person_id, provider, payment, amount_minor, currency, reason, origin, state,
                              first_asked_at, tries, changed_at)
         select firm_id, gen_random_uuid(), id, person_id, 'sandbox', 'pay', 1, 'USD', 'Paid twice.', 'overpaid', 'failed', now(), 0, now()
         from purchases where firm_id = $1 order by created_at, id limit 1",
        "insert into disputes (firm_id, id, provider, known_as, purchase_id, person_id, payment, amount_minor, currency, reason, state,
                               inquiry, opened_at, changed_at)
         select firm_id, gen_random_uuid(), 'sandbox', 'dp', id, person_id, 'pay', 1, 'USD', 'general', 'needs_answer', true, now(), now()
         from purchases where firm_id = $1 order by created_at, id limit 1",
        "insert into dispute_answers (firm_id, dispute_id, number, kind, state, asked_by, first_asked_at, changed_at)
         select firm_id, id, 1, 'concession', 'failed', person_id, now(), now() from disputes where firm_id = $1",
        "insert into dispute_rate_alerts (firm_id, provider, month, level, disputes, payments, at)
         values ($1, 'sandbox', '2026-01', 'warn', 1, 100, now())",
    ] {
        sqlx::query(sql).bind(firm.uuid()).execute(&mut owner).await.unwrap();
    }
}

/// A provider's books are compared with ours: a fee is posted from them, and of a payment nobody has told us.
async fn books(world: &World, firm: FirmId) {
    use app::reconciliation::{
        self, BookPage, Compared, Counts, NewRun, ReconciliationStore as _, Run, RunState,
    };
    let at = Timestamp::parse(START).unwrap();
    let later = at.after(Span::from_seconds(60)).unwrap();
    let name = app::payments::port::ProviderName::Stripe;
    let admin = world.admin(firm, "books").await;
    let run = Run {
        id: reconciliation::RunId::random(at, &*world.rng),
        subject: reconciliation::Subject::Provider(name),
        state: RunState::Reading,
        from: at,
        until: later,
        step: 0,
        read_from: at,
        page: None,
        after: (String::new(), String::new()),
        counts: Counts::default(),
        started_by: Some(admin.id),
        started_at: at,
        moved_at: at,
        ended_at: None,
    };
    let audit = world.entry(firm, "reconciliation.start", &admin);
    let store = &world.store;
    let run = store.begin_run(firm, &NewRun { run, audit }).await.unwrap();
    let line = |id: &str, kind, gross: &str| app::payments::port::Entry {
        id: format!("{id}-{firm}"),
        kind,
        word: id.to_owned(),
        about: Some(format!("about-{firm}")),
        payment: None,
        reference: None,
        gross: usd(gross),
        fee: usd("0"),
        net: usd(gross),
        at,
    };
    let entries = vec![
        line("payment", app::payments::port::EntryKind::Payment, "10"),
        line("fee", app::payments::port::EntryKind::Fee, "-2"),
    ];
    let page = BookPage { entries, read_from: later, page: None };
    let run = store.keep_page(firm, &run, &page, at).await.unwrap().unwrap();
    let run = store.name_ledger(firm, &run, at).await.unwrap().unwrap();
    let mut compared = Compared::default();
    for both in store.both(firm, &run, 10).await.unwrap() {
        let judged = reconciliation::judge(&name.in_ledger().unwrap(), &both, later).unwrap();
        compared.found.extend(judged.found);
        compared.posts.extend(judged.posts.into_iter().map(|post| (both.name.clone(), post)));
    }
    assert_eq!((compared.posts.len(), compared.found.len()), (1, 1));
    store.keep_compared(firm, &run, &compared, at).await.unwrap().unwrap();
}

/// Sums the books. What other tests of this server are writing just now holds up what a snapshot may know.
pub async fn snapshot(world: &World, firm: FirmId) {
    for _ in 0..1_000 {
        let taken = world.store.snapshot(firm, Timestamp::parse(START).unwrap()).await.unwrap().unwrap();
        if taken.balances > 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("a transaction of another test never ends");
}

/// A message that was taken and one that failed, a job that waits, a queue that is paused.
async fn work(world: &World, firm: FirmId) {
    let at = Timestamp::parse(START).unwrap();
    let mut tx = world.store.begin(firm).await.unwrap();
    assert_eq!(tx.take_messages("test", &[7]).await.unwrap(), [7]);
    let job = NewJob {
        firm: Some(firm),
        queue: "mail",
        kind: "mail.send",
        payload: serde_json::json!({}),
        run_at: at,
        priority: 0,
        unique: None,
        most_attempts: 3,
    };
    tx.enqueue(&[job], at).await.unwrap();
    let _proof = tx.commit().await.unwrap();
    let failed = Failed { group: "test", firm, message: 8, error: "no" };
    world.store.fail(failed).await.unwrap();
    let admin = world.admin(firm, "admin").await;
    Operations::new(world.store.clone(), world.clock.clone())
        .pause(&world.context_of(firm, &admin), "reports")
        .await
        .unwrap();
}

/// A message as the relay gives it, with an id that no other test message has.
pub fn message(firm: FirmId, id: i64, aggregate: &str, topic: &str, payload: serde_json::Value) -> Message {
    Message {
        id: 1_000_000 + id,
        firm,
        at: Timestamp::parse(START).unwrap(),
        aggregate: aggregate.to_owned(),
        topic: topic.to_owned(),
        version: 1,
        payload,
        trace: None,
    }
}

/// The use cases of webhooks, which may lead to this machine.
pub fn webhooks(world: &World) -> Webhooks {
    let urls = UrlPolicy { loopback: true, ..UrlPolicy::default() };
    Webhooks::new(world.store.clone(), world.clock.clone(), world.rng.clone(), urls)
}

pub async fn hook(world: &World, admin: &app::Context, url: &str, topics: &[&str]) -> Endpoint {
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let new = NewEndpoint { url: url.to_owned(), description: "A test".to_owned(), topics };
    webhooks(world).add(admin, new).await.unwrap().0
}

/// Somebody told of a purchase by inbox and mail, a choice, an address that takes no mail, a webhook with a failed attempt.
async fn telling(world: &World, firm: FirmId, trader: &Person) {
    let at = Timestamp::parse(START).unwrap();
    let store = &world.store;
    let purchase =
        app::purchases::PurchaseStore::purchases(&**store, firm, trader.id, None, 1).await.unwrap().remove(0);
    let paid = message(firm, 1, &format!("purchase:{}", purchase.id), "purchase.paid", serde_json::json!({}));
    let notifier = Notifier::new(store.clone(), world.clock.clone());
    notifier.take(firm, std::slice::from_ref(&paid)).await.unwrap();
    let warnings = Preference { group: Group::Warnings, in_app: true, mail: false };
    assert!(store.set_preferences(firm, trader.id, &[warnings]).await.unwrap());
    store.suppress(firm, [7; 32], Suppression::Complaint, at).await.unwrap();
    store.firm_secret(firm, "test", Secret([1; SECRET_BYTES]), at).await.unwrap();

    let admin = world.context_of(firm, &world.admin(firm, "hooks").await);
    let endpoint = hook(world, &admin, "https://hooks.example.com/in", &["release.*"]).await;
    let added = message(firm, 2, "release:1", "release.added", serde_json::json!({}));
    WebhookTaker::new(store.clone(), world.clock.clone())
        .take(firm, std::slice::from_ref(&added))
        .await
        .unwrap();
    let delivery = NewDelivery::of(&added, endpoint.id, at).id;
    let due = store.due_delivery(firm, endpoint.id, delivery, 1, at).await.unwrap().unwrap();
    let error = Some("The connection was refused.".to_owned());
    let attempt = Attempt { number: 1, at, took: Span::ZERO, status: None, answer: None, error };
    let came = Came { attempt, next: Next::Failed, job: None, disable: None, at };
    assert!(store.came(firm, &due, &came).await.unwrap());
}

/// An engine that pays what it is asked for, 80 per cent of it to the trader, once for each key; or does what it is told.
#[derive(Debug, Default)]
pub struct FakeTaker {
    /// What was taken, by key.
    pub taken: Mutex<BTreeMap<String, Amount>>,
    /// What was not, by key: asked again, the engine answers the same.
    pub not_taken: Mutex<BTreeMap<String, Taking>>,
    /// How often it was asked.
    pub asked: AtomicUsize,
    /// What it does next, the first first; if nothing, it pays.
    pub next: Mutex<Vec<Taking>>,
}

/// What the fake engine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// It was not heard.
    Lost,
    /// It pays, and its answer is lost.
    AnswerLost,
    /// Prices are too old.
    Later,
    /// A condition does not hold.
    Refuses,
}

/// A thousand dollars, of which the trader gets eight hundred.
pub fn precheck(asked: Option<Amount>) -> Precheck {
    let withdrawable = Amount::parse("1000").unwrap();
    let asked = asked.unwrap_or(withdrawable);
    let eligible = asked <= withdrawable;
    Precheck {
        eligible,
        conditions: vec![Objective {
            kind: "amount".into(),
            rule: 0,
            current: Figure::Amount(asked),
            target: Figure::Amount(withdrawable),
            met: eligible,
        }],
        withdrawable,
        payout: asked.share(Percent::from_whole(80), Rounding::Floor).unwrap(),
        figures: Vec::new(),
    }
}

#[async_trait]
impl Taker for FakeTaker {
    async fn precheck(&self, _: AccountId, asked: Option<Amount>) -> Result<Option<Precheck>, AppError> {
        Ok(Some(precheck(asked)))
    }

    async fn take(&self, _: FirmId, payout: &Payout) -> Result<Answer, AppError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let lost = || AppError::Unavailable { doing: "asking the engine", source: "nobody answers".into() };
        let key = payout.key().unwrap().as_str().to_owned();
        let mut answered = self.not_taken.lock().unwrap();
        let mut waiting = self.next.lock().unwrap();
        let next = match answered.get(&key) {
            Some(before) => Some(*before),
            None if waiting.is_empty() => None,
            None => Some(waiting.remove(0)),
        };
        let taken = self.taken.lock().unwrap().contains_key(&key);
        if let Some(not @ (Taking::Later | Taking::Refuses)) = next.filter(|_| !taken) {
            answered.insert(key.clone(), not);
        }
        match next {
            Some(Taking::Lost) => return Err(lost()),
            Some(Taking::Later) if !taken => return Ok(Answer::Later),
            Some(Taking::Refuses) if !taken => {
                return Ok(Answer::Refused {
                    verdict: Some(7),
                    reason: "the cycle has not ended".to_owned(),
                });
            }
            Some(Taking::AnswerLost | Taking::Later | Taking::Refuses) | None => {}
        }
        self.taken.lock().unwrap().insert(key, payout.asked);
        if next == Some(Taking::AnswerLost) {
            return Err(lost());
        }
        let share = payout.asked.share(Percent::from_whole(80), Rounding::Floor).unwrap();
        let share = in_money(share, payout.currency, Rounding::Floor).unwrap();
        Ok(Answer::Taken { verdict: Some(3), taken: payout.asked, share })
    }
}

/// The use cases of payouts over a fake engine.
pub fn payouts(world: &World, taker: &Arc<FakeTaker>, providers: Providers) -> Payouts {
    Payouts::new(world.store.clone(), taker.clone(), providers, world.clock.clone(), world.rng.clone())
}

/// The use cases of checks, and whoever looks at documents.
pub fn kyc(world: &World) -> (Kyc, Arc<SandboxVerifier>) {
    let verifier = Arc::new(SandboxVerifier::default());
    let kyc = Kyc::new(world.store.clone(), verifier.clone(), world.clock.clone(), world.rng.clone());
    (kyc, verifier)
}

/// A row in every table of payouts and of who is known to be who.
async fn paying(world: &World, firm: FirmId, trader: &Person, account: AccountId, passed: AccountId) {
    let admin = world.context_of(firm, &world.admin(firm, "payer").await);
    let context = world.context_of(firm, trader);
    let payouts = payouts(world, &Arc::new(FakeTaker::default()), Providers::default());
    let bank =
        BankAccount { name: "The firm".to_owned(), iban: "DE89370400440532013000".to_owned(), bic: None };
    let settings = PayoutSettings {
        identity_needed: false,
        bank: Some(bank),
        one_reviewer: vec![usd("1000")],
        ..PayoutSettings::default()
    };
    payouts.set_settings(&admin, &settings, Some("A test.")).await.unwrap();
    let request =
        PayoutRequest { account, amount: None, payee: Payee::Manual { note: "By hand.".to_owned() } };
    let payout = payouts.request(&context, &Key::parse("story").unwrap(), request).await.unwrap();
    payouts.review(&admin, payout.id, true, Some("As it should be.")).await.unwrap();
    payouts.advance(&world.context(firm)).await.unwrap();
    let paid = payouts.mark_paid(&admin, payout.id, "bank-1", Some("Paid.")).await.unwrap();
    assert_eq!(paid.state, PayoutState::Settled);
    let at = Timestamp::parse(START).unwrap();
    let batch = NewBatch {
        id: PayoutBatchId::random(at, &*world.rng),
        currency: payout.currency,
        person: trader.id,
        at,
    };
    world.store.create_batch(firm, &batch, &world.entry(firm, "test", trader)).await.unwrap();
    world.store.block_payouts(firm, trader.id, "dispute:1", "A dispute is open", at).await.unwrap();
    kyc(world).0.upload(&context, DocumentKind::Passport, b"%PDF-1.4 a passport".to_vec()).await.unwrap();
    let certificates = Certificates::new(world.store.clone(), world.clock.clone(), world.rng.clone());
    certificates.of(&context, Subject::Phase(passed)).await.unwrap();
}
