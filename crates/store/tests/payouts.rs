//! Payouts on a real database, with providers that stand in for the real ones: whatever is lost, repeated or comes too late, the money
//! leaves the account once, is paid once, and the books say so.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::common::{FakeTaker, Owner, Taking, kyc, payouts, usd};
use crate::connected::{Connected, connected};
use app::disputes::{Disputes, Holder, Thresholds};
use app::identity::Person;
use app::kyc::{DocumentKind, Finding, Judgement, Standing};
use app::ledger::{AsOf, Ledger, LedgerStore as _};
use app::payments::Providers;
use app::payments::checkouts::Checkouts;
use app::payments::following::{Following, Parts};
use app::payments::notices::{NewNotice, NoticeStore as _, Tried};
use app::payments::port::{About, Notice, Provider, ProviderName};
use app::payouts::{
    ASKED_AGAIN_AFTER, Answer, AtDesk, AttemptState, BankAccount, Certificates, Payee, Payout, PayoutState,
    PayoutStore as _, Payouts, Proven, Request, Settings, Subject, Taker, Wanted, csv, pain001,
};
use app::privacy::{Erased, PrivacyStore as _, State};
use app::purchases::{Purchase, PurchaseEvent, PurchaseState, Purchases, SANDBOX};
use app::reconciliation::{DifferenceState, Reconciliation, Subject as OwnBooks, Wanted as Wishes};
use app::refunds::Refunds;
use app::trading::{Desk, Line, LineError, Origin, Submitted, Views};
use app::upkeep::{Upkeep, UpkeepStore as _};
use app::{AppError, Context};
use async_trait::async_trait;
use engine::{Command, Forecast, Key, View};
use futures_util::future::join_all;
use kernel::{AccountId, Amount, Clock as _, FirmId, Money, Span};
use testkit::payments::Fault;
use testkit::payments::paypal::FakePaypal;
use testkit::payments::stripe::FakeStripe;
use testkit::{World, program};
use tokio::sync::{mpsc, oneshot};
use workers::payments::MoneyKeeper;

struct House {
    world: World,
    firm: FirmId,
    trader: Person,
    buyer: Context,
    admin: Context,
    finance: Context,
    account: AccountId,
    taker: Arc<FakeTaker>,
    payouts: Arc<Payouts>,
    stripe: FakeStripe,
    paypal: FakePaypal,
    providers: Providers,
}

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn code<T: std::fmt::Debug>(told: Result<T, AppError>) -> &'static str {
    match told {
        Err(AppError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

async fn house() -> House {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let mut sold = program("Two steps");
    // Funded from the beginning.
    sold.phases.truncate(1);
    sold.phases[0].rules.retain(|rule| rule.kind() == "max_loss");
    sold.phases[0].payout = Some(serde_json::from_str(r#"{"split":"80"}"#).unwrap());
    world.publish(firm, "two-step", sold).await;
    let trader = world.person(firm, "trader@one.example").await;
    let buyer = world.context_of(firm, &trader);
    let admin = world.context_of(firm, &world.admin(firm, "admin").await);
    let finance = world.context_of(firm, &world.admin(firm, "finance").await);
    let bought = world.challenge(firm, &trader, "two-step").await;
    let mut owner = Owner::take(&world, 0).await;
    owner.quote("EURUSD", 110_000, 110_002);
    let account = owner.open(&bought).await;
    let _proof = owner.commit().await.unwrap();
    let Connected { stripe, paypal, providers, .. } = connected(&world, firm).await;
    stripe.top_up(1_000_000, "usd");
    let taker = Arc::new(FakeTaker::default());
    let payouts = Arc::new(payouts(&world, &taker, providers.clone()));
    drop(owner);
    let house = House {
        world,
        firm,
        trader,
        buyer,
        admin,
        finance,
        account,
        taker,
        payouts,
        stripe,
        paypal,
        providers,
    };
    house.set(false, Some("1000")).await;
    house
}

fn to_paypal() -> Payee {
    Payee::Paypal { email: "amina@example.com".to_owned() }
}

fn to_stripe() -> Payee {
    Payee::Stripe { account: "acct_1Amina".to_owned() }
}

fn to_bank() -> Payee {
    Payee::BankFile(BankAccount {
        name: "Amina".to_owned(),
        iban: "DE89370400440532013000".to_owned(),
        bic: None,
    })
}

impl House {
    async fn set(&self, identity_needed: bool, one_reviewer: Option<&str>) {
        let settings = Settings {
            identity_needed,
            one_reviewer: one_reviewer.into_iter().map(usd).collect(),
            bank: Some(BankAccount {
                name: "The firm".to_owned(),
                iban: "GB82WEST12345698765432".to_owned(),
                bic: None,
            }),
            ..Settings::default()
        };
        self.payouts.set_settings(&self.admin, &settings, Some("A test.")).await.unwrap();
    }

    fn nobody(&self) -> Context {
        self.world.context(self.firm)
    }

    async fn ask(&self, name: &str, payee: Payee) -> Result<Payout, AppError> {
        let request = Request { account: self.account, amount: None, payee };
        self.payouts.request(&self.buyer, &key(name), request).await
    }

    async fn approved(&self, name: &str, payee: Payee) -> Payout {
        let payout = self.ask(name, payee).await.unwrap();
        assert_eq!(payout.state, PayoutState::InReview);
        self.payouts.review(&self.admin, payout.id, true, Some("All is well.")).await.unwrap()
    }

    async fn advance(&self) {
        self.payouts.advance(&self.nobody()).await.unwrap();
    }

    async fn later(&self) {
        self.world.clock.advance(ASKED_AGAIN_AFTER);
        self.advance().await;
    }

    async fn now(&self, payout: &Payout) -> Payout {
        self.world.store.payout(self.firm, payout.id).await.unwrap().unwrap()
    }

    async fn state(&self, payout: &Payout) -> PayoutState {
        self.now(payout).await.state
    }

    /// The provider's name of the last attempt.
    async fn called(&self, payout: &Payout) -> String {
        let whole = self.world.store.payout_whole(self.firm, payout.id).await.unwrap().unwrap();
        whole.attempts.last().unwrap().reference.clone().unwrap()
    }

    async fn told(&self, provider: ProviderName, id: &str) {
        let told = self.provider(provider).payout(id).await.unwrap();
        let whose = self.payouts.told(&self.nobody(), provider, &told).await.unwrap();
        assert_eq!(whose, Some(self.trader.id));
    }

    fn provider(&self, name: ProviderName) -> Arc<dyn Provider> {
        self.providers.of(self.firm, name).unwrap().clone()
    }

    /// Debits minus credits, in cents, of everything that is not zero.
    async fn books(&self) -> BTreeMap<String, i64> {
        let books = self.world.store.books(self.firm, AsOf::default()).await.unwrap();
        assert!(books.balanced().unwrap());
        assert_eq!(self.world.store.money_faults(self.firm).await.unwrap(), []);
        let net = |it: &app::ledger::Balance| (it.account.to_string(), it.debits - it.credits);
        // What the challenge was sold for is another story.
        let sale = ["fee_income", "provider_clearing:sandbox"];
        let all = books.balances.iter().map(net);
        all.filter(|(name, net)| *net != 0 && !sale.contains(&name.as_str())).collect()
    }

    fn of_trader(&self, kind: &str) -> String {
        format!("{kind}:{}", self.trader.id)
    }

    /// It has arrived once, from there, and nobody owes anything.
    async fn settled(&self, payout: &Payout, from: &str, fee: Option<(&str, i64)>) {
        assert_eq!(self.state(payout).await, PayoutState::Settled);
        let cost = fee.map_or(0, |(_, fee)| fee);
        let mut expected = vec![("trader_rewards".to_owned(), 80_000), (from.to_owned(), -80_000 - cost)];
        expected.extend(fee.map(|(name, fee)| (name.to_owned(), fee)));
        assert_eq!(self.books().await, expected.into_iter().collect());
        assert_eq!(self.taker.taken.lock().unwrap().len(), 1, "the account was debited once");
    }

    fn end(&self) {
        assert_eq!(self.stripe.wrong(), [""; 0]);
        assert_eq!(self.paypal.wrong(), [""; 0]);
    }

    async fn topics(&self) -> Vec<String> {
        let mut owner = self.world.database.superuser().await;
        sqlx::query_scalar("select topic from outbox where topic like 'payout.%' order by id")
            .fetch_all(&mut owner)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_hundred_requests_at_once_are_one_payout() {
    let house = house().await;
    let same = (0..50).map(|_| house.ask("same", to_paypal()));
    let keys: Vec<String> = (0..50).map(|number| format!("other-{number}")).collect();
    let others = keys.iter().map(|key| house.ask(key, to_paypal()));
    let (same, others) = tokio::join!(join_all(same), join_all(others));
    let mut made: Vec<Payout> = Vec::new();
    for told in same.into_iter().chain(others) {
        match told {
            Ok(payout) => made.push(payout),
            Err(AppError::Refused { code, .. }) => assert_eq!(code, "payout_open"),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(made.iter().all(|payout| payout.id == made[0].id), "{made:?}");
    let all = house.world.store.payouts(house.firm, &Wanted::default(), None, 100).await.unwrap();
    assert_eq!(all.len(), 1);
    // The same key with another request is another request.
    let once = made[0].clone();
    let again = house.ask("again", to_paypal()).await;
    assert_eq!(code(again), "payout_open");
    house.payouts.withdraw(&house.buyer, once.id).await.unwrap();
    let next = house.ask("next", to_paypal()).await.unwrap();
    assert_eq!(house.ask("next", to_paypal()).await.unwrap().id, next.id);
    assert_eq!(code(house.ask("next", to_stripe()).await), "idempotency_key_reused");
    // Two people withdraw and let go at once: one of them is right.
    let approve = house.payouts.review(&house.admin, next.id, true, Some("All is well."));
    let (withdrawn, approved) = tokio::join!(house.payouts.withdraw(&house.buyer, next.id), approve);
    assert!(withdrawn.is_ok() || approved.is_ok());
    house.advance().await;
    let debits = house.taker.taken.lock().unwrap().len();
    assert_eq!(debits, usize::from(house.state(&next).await != PayoutState::Withdrawn));
}

#[tokio::test]
async fn a_payout_by_stripe_is_debited_sent_and_settled_once_however_often_it_is_moved() {
    let house = house().await;
    let payout = house.approved("one", to_stripe()).await;
    assert_eq!(payout.state, PayoutState::Approved);
    let nobody = house.nobody();
    for told in join_all((0..8).map(|_| house.payouts.advance(&nobody))).await {
        told.unwrap();
    }
    house.later().await;
    house.settled(&payout, "provider_clearing:stripe", None).await;
    assert_eq!(house.stripe.all("transfer").len(), 1);
    assert_eq!(house.stripe.balance("usd"), 1_000_000 - 80_000);
    let all = ["payout.requested", "payout.approved", "payout.settled"];
    assert_eq!(house.topics().await, all);
    // What is told again and again changes nothing.
    for _ in 0..3 {
        house.told(ProviderName::Stripe, &house.called(&payout).await).await;
    }
    house.settled(&payout, "provider_clearing:stripe", None).await;
    // It is taken back at Stripe long after: the trader is owed again, and it is sent again.
    let called = house.called(&payout).await;
    let back = app::payments::port::Reference::parse("back-1").unwrap();
    house.provider(ProviderName::Stripe).take_back_payout(&called, &back).await.unwrap();
    house.told(ProviderName::Stripe, &called).await;
    assert_eq!(house.state(&payout).await, PayoutState::Returned);
    let owed = [("trader_rewards".to_owned(), 80_000), (house.of_trader("trader_payable"), -80_000)];
    assert_eq!(house.books().await, owed.into_iter().collect());
    house.payouts.send_again(&house.finance, payout.id, None, Some("Once more.")).await.unwrap();
    house.advance().await;
    house.settled(&payout, "provider_clearing:stripe", None).await;
    assert_eq!(house.stripe.all("transfer").len(), 2);
    house.end();
}

#[tokio::test]
async fn whatever_is_lost_on_the_way_a_payout_is_paid_once() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest, Fault::FailAfter(502), Fault::AtWork] {
        let house = house().await;
        *house.taker.next.lock().unwrap() = vec![Taking::Later, Taking::Lost, Taking::AnswerLost];
        let payout = house.approved("one", to_paypal()).await;
        for _ in 0..3 {
            house.advance().await;
            assert_eq!(house.state(&payout).await, PayoutState::Approved, "nobody knows what the engine did");
            assert_eq!(
                code(house.payouts.withdraw(&house.buyer, payout.id).await),
                "conflict",
                "the engine may have been asked"
            );
        }
        for _ in 0..3 {
            house.paypal.meets("POST /v1/payments/payouts", fault.clone());
        }
        house.advance().await;
        assert_eq!(house.state(&payout).await, PayoutState::Sending, "{fault:?}");
        let held = [("trader_rewards".to_owned(), 80_000), (house.of_trader("trader_held"), -80_000)];
        assert_eq!(house.books().await, held.into_iter().collect(), "nobody believes that it was sent");
        // Nobody asks again before whoever asked has given up.
        house.advance().await;
        assert_eq!(house.state(&payout).await, PayoutState::Sending, "{fault:?}");
        house.later().await;
        assert_eq!(house.state(&payout).await, PayoutState::Sent, "{fault:?}");
        let called = house.called(&payout).await;
        house.paypal.payout_becomes(&called, "SUCCESS");
        // The webhook is lost; the janitor pulls.
        house.world.clock.advance(Span::from_seconds(3_600));
        assert_eq!(house.payouts.janitor(&house.nobody()).await.unwrap(), 1);
        assert_eq!(house.payouts.janitor(&house.nobody()).await.unwrap(), 0);
        house.settled(&payout, "provider_clearing:paypal", Some(("provider_fees:paypal", 25))).await;
        assert_eq!(house.paypal.counts()[3], 1, "{fault:?}: one payment");
        house.end();
    }
}

#[tokio::test]
async fn what_is_declined_or_comes_back_is_owed_and_goes_elsewhere_as_another_attempt() {
    let house = house().await;
    let payout = house.approved("one", to_paypal()).await;
    house.paypal.meets("POST /v1/payments/payouts", Fault::Decline("RECEIVER_UNREGISTERED"));
    house.advance().await;
    assert_eq!(house.state(&payout).await, PayoutState::Failed);
    let owed: BTreeMap<String, i64> =
        [("trader_rewards".to_owned(), 80_000), (house.of_trader("trader_payable"), -80_000)]
            .into_iter()
            .collect();
    assert_eq!(house.books().await, owed);
    assert_eq!(code(house.ask("two", to_paypal()).await), "payout_open", "it is still owed");
    house.advance().await;
    assert_eq!(house.state(&payout).await, PayoutState::Failed, "nobody sends it again by itself");

    // Nobody claims it, and it comes back.
    house.payouts.send_again(&house.finance, payout.id, None, Some("Once more.")).await.unwrap();
    house.advance().await;
    let second = house.called(&payout).await;
    house.paypal.payout_becomes(&second, "UNCLAIMED");
    house.told(ProviderName::Paypal, &second).await;
    assert_eq!(house.state(&payout).await, PayoutState::Sent);
    let unclaimed = house.provider(ProviderName::Paypal).payout(&second).await.unwrap();
    house.paypal.payout_becomes(&second, "RETURNED");
    house.told(ProviderName::Paypal, &second).await;
    assert_eq!(house.state(&payout).await, PayoutState::Returned);
    assert_eq!(house.books().await, owed);
    // Old news come late.
    house.payouts.told(&house.nobody(), ProviderName::Paypal, &unclaimed).await.unwrap();
    assert_eq!(house.state(&payout).await, PayoutState::Returned);

    let elsewhere = Some(to_stripe());
    house.payouts.send_again(&house.finance, payout.id, elsewhere, Some("To Stripe.")).await.unwrap();
    house.advance().await;
    assert_eq!(house.state(&payout).await, PayoutState::PayeeInReview, "somebody else looks at that");
    assert_eq!(house.books().await, owed);
    house.payouts.review(&house.admin, payout.id, true, Some("It is theirs.")).await.unwrap();
    house.advance().await;
    // News of an older attempt are no news of this one.
    house.told(ProviderName::Paypal, &second).await;
    house.settled(&payout, "provider_clearing:stripe", None).await;
    let whole = house.world.store.payout_whole(house.firm, payout.id).await.unwrap().unwrap();
    let states: Vec<_> = whole.attempts.iter().map(|attempt| attempt.state).collect();
    assert_eq!(states, [AttemptState::Failed, AttemptState::Returned, AttemptState::Settled]);
    let all = [
        "payout.requested",
        "payout.approved",
        "payout.failed",
        "payout.sent",
        "payout.returned",
        "payout.settled",
    ];
    assert_eq!(house.topics().await, all);
    house.end();
}

#[tokio::test]
async fn who_asks_is_known_before_anybody_decides_and_two_decide_about_much() {
    let house = house().await;
    house.set(true, None).await;
    let (kyc, verifier) = kyc(&house.world);
    let payout = house.ask("one", to_stripe()).await.unwrap();
    assert_eq!(payout.state, PayoutState::AwaitingIdentity);
    let review = |context: &Context| {
        let context = context.clone();
        let payouts = Arc::clone(&house.payouts);
        async move { payouts.review(&context, payout.id, true, Some("All is well.")).await }
    };
    assert_eq!(code(review(&house.admin).await), "identity_needed");
    let refused = kyc.upload(&house.buyer, DocumentKind::Passport, b"<html>".to_vec()).await;
    assert!(matches!(refused, Err(AppError::Invalid(_))));
    assert_eq!(code(kyc.submit(&house.buyer).await), "conflict");
    let passport = b"%PDF-1.4 a passport of nobody".to_vec();
    let shown = kyc.upload(&house.buyer, DocumentKind::Passport, passport.clone()).await.unwrap();
    assert_eq!(kyc.submit(&house.buyer).await.unwrap().known.standing, Standing::Submitted);
    // Whoever looks at documents does not decide; one of the firm's people does, and every look is written down.
    assert_eq!(kyc.janitor(&house.nobody()).await.unwrap(), 0);
    assert!(matches!(
        kyc.look(&house.buyer, house.trader.id, shown.id, Some("x")).await,
        Err(AppError::Forbidden)
    ));
    assert_eq!(code(kyc.look(&house.admin, house.trader.id, shown.id, None).await), "reason_missing");
    let looked = kyc.look(&house.admin, house.trader.id, shown.id, Some("Ticket 17")).await.unwrap();
    assert_eq!(looked.bytes, passport);
    let mut owner = house.world.database.superuser().await;
    let looks: Vec<String> =
        sqlx::query_scalar("select purpose from audit_entries where action = 'identity.look' order by id")
            .fetch_all(&mut owner)
            .await
            .unwrap();
    assert_eq!(looks, ["Ticket 17"]);
    let sealed: bool = sqlx::query_scalar(
        "select bool_and(position('passport'::bytea in bytes_sealed) = 0) from identity_documents",
    )
    .fetch_one(&mut owner)
    .await
    .unwrap();
    assert!(sealed, "nothing of it can be read in the database");
    verifier.finds(Finding::Verified { until: None });
    assert_eq!(kyc.janitor(&house.nobody()).await.unwrap(), 1);
    assert_eq!(
        code(kyc.judge(&house.admin, house.trader.id, &Judgement::Verified, Some("Late.")).await),
        "conflict"
    );
    house.advance().await;
    assert_eq!(house.state(&payout).await, PayoutState::InReview);
    assert_eq!(review(&house.admin).await.unwrap().state, PayoutState::InReview, "two have to agree");
    assert_eq!(code(review(&house.admin).await), "four_eyes");
    assert!(matches!(review(&house.buyer).await, Err(AppError::Forbidden)));
    assert_eq!(review(&house.finance).await.unwrap().state, PayoutState::Approved);
    house.advance().await;
    house.settled(&payout, "provider_clearing:stripe", None).await;
    // It runs out.
    house.world.clock.advance(Span::from_seconds(731 * 86_400));
    assert_eq!(
        kyc.own(&house.buyer).await.unwrap().0.unwrap().known.at(house.world.clock.now()),
        Standing::Expired
    );
    assert_eq!(kyc.janitor(&house.nobody()).await.unwrap(), 1);
    let next = house.ask("two", to_stripe()).await.unwrap();
    assert_eq!(next.state, PayoutState::AwaitingIdentity);
    // An erasure waits for the payout, and takes the documents and whom it went to with it.
    let erased = Erased { firm: house.firm, person: house.trader.id, at: house.world.clock.now(), by: None };
    let entry = house.world.entry(house.firm, "privacy.erase", &house.trader);
    assert_eq!(code(house.world.store.erase(&erased, &entry).await), "payout_open");
    house.payouts.withdraw(&house.buyer, next.id).await.unwrap();
    house.world.store.erase(&erased, &entry).await.unwrap();
    let left: i64 =
        sqlx::query_scalar("select count(*) from identity_documents").fetch_one(&mut owner).await.unwrap();
    assert_eq!(left, 0);
    assert_eq!(house.world.store.payee(house.firm, payout.id, None, None).await.unwrap(), None);
    house.settled(&payout, "provider_clearing:stripe", None).await;
}

#[tokio::test]
async fn nothing_is_taken_or_sent_while_a_dispute_is_open_or_a_hold_stands() {
    let house = house().await;
    let (store, at) = (&house.world.store, house.world.clock.now());
    let block = || store.block_payouts(house.firm, house.trader.id, "dispute:1", "A dispute is open", at);
    let unblock = || store.unblock_payouts(house.firm, house.trader.id, "dispute:1", at);
    block().await.unwrap();
    block().await.unwrap();
    let payout = house.approved("one", to_stripe()).await;
    house.advance().await;
    assert_eq!(house.state(&payout).await, PayoutState::Approved);
    assert_eq!(house.taker.asked.load(Ordering::Relaxed), 0, "nothing has left the account");
    unblock().await.unwrap();
    // The money has left the account when the next dispute comes: it is kept back.
    house.stripe.meets("POST /v1/transfers", Fault::Fail(500));
    house.stripe.meets("POST /v1/transfers", Fault::Fail(500));
    house.stripe.meets("POST /v1/transfers", Fault::Fail(500));
    house.advance().await;
    assert_eq!(house.state(&payout).await, PayoutState::Sending, "what was begun is finished");
    house.later().await;
    house.settled(&payout, "provider_clearing:stripe", None).await;

    let manual = Payee::Manual { note: "In cash.".to_owned() };
    let payout = house.approved("two", manual).await;
    house.advance().await;
    assert_eq!(house.state(&payout).await, PayoutState::Reserved);
    let entry = house.world.entry(house.firm, "privacy.hold", &house.trader);
    store.set_state(house.firm, house.trader.id, State::Held, Some(at), &entry).await.unwrap();
    let paid = || house.payouts.mark_paid(&house.finance, payout.id, "cash-1", Some("Paid."));
    assert_eq!(code(paid().await), "payout_held");
    store.set_state(house.firm, house.trader.id, State::Held, None, &entry).await.unwrap();
    assert_eq!(paid().await.unwrap().state, PayoutState::Settled);
    assert_eq!(house.books().await.get("bank"), Some(&-80_000));
    let dossier = house.payouts.dossier(&house.admin, payout.id, Some("To decide.")).await.unwrap();
    assert_eq!(dossier.payee, Some(Payee::Manual { note: "In cash.".to_owned() }));
    assert_eq!((dossier.others.len(), dossier.blocks.len()), (1, 0));
}

#[tokio::test]
async fn a_payout_that_comes_back_late_is_recorded_while_the_next_one_is_under_way() {
    let house = house().await;
    let first = house.approved("one", to_stripe()).await;
    house.advance().await;
    assert_eq!(house.state(&first).await, PayoutState::Settled);
    let next = house.ask("two", to_stripe()).await.unwrap();
    assert_eq!(next.state, PayoutState::InReview);
    let called = house.called(&first).await;
    let back = app::payments::port::Reference::parse("back-1").unwrap();
    house.provider(ProviderName::Stripe).take_back_payout(&called, &back).await.unwrap();
    house.told(ProviderName::Stripe, &called).await;
    assert_eq!((house.state(&first).await, house.state(&next).await), (PayoutState::Returned, next.state));
    // It is sent again beside the other one, and a third waits until both are over.
    house.payouts.send_again(&house.finance, first.id, None, Some("Once more.")).await.unwrap();
    house.payouts.withdraw(&house.buyer, next.id).await.unwrap();
    assert_eq!(code(house.ask("three", to_stripe()).await), "payout_open", "it is still owed");
    house.advance().await;
    house.settled(&first, "provider_clearing:stripe", None).await;
    let third = house.ask("three", to_stripe()).await.unwrap();
    assert_eq!(third.state, PayoutState::InReview);
    house.end();
}

impl House {
    /// What a purchase cost is given back.
    async fn given_back(&self, bought: &Purchase) {
        let provider = app::ledger::Provider::parse(SANDBOX).unwrap();
        let event = PurchaseEvent::Refunded {
            provider,
            payment: format!("pay-{}", bought.id),
            refund: format!("re-{}", bought.id),
            amount: bought.fee,
        };
        let at = self.world.clock.now();
        let told = self.world.purchases.happened(&self.nobody(), bought.id, &event, at).await.unwrap();
        assert_eq!(told.state, PurchaseState::Refunded);
    }

    async fn bought(&self) -> Purchase {
        self.world.purchases.list(&self.buyer, None, 1).await.unwrap().remove(0)
    }
}

#[tokio::test]
async fn a_challenge_that_was_given_back_pays_nothing_any_more() {
    let house = house().await;
    let payout = house.approved("one", to_stripe()).await;
    house.given_back(&house.bought().await).await;
    house.advance().await;
    assert_eq!(house.state(&payout).await, PayoutState::Approved);
    assert_eq!(house.taker.asked.load(Ordering::Relaxed), 0, "nothing has left the account");
    let dossier = house.payouts.dossier(&house.admin, payout.id, Some("Why it waits.")).await.unwrap();
    assert_eq!(dossier.blocks.len(), 1, "{:?}", dossier.blocks);
    house.payouts.review(&house.admin, payout.id, false, Some("It was refunded.")).await.unwrap();
    assert_eq!(code(house.ask("two", to_stripe()).await), "payout_refused");
    assert_eq!(code(house.payouts.precheck(&house.buyer, house.account, None).await), "payout_refused");

    // The money has left the account by then: it is kept back, in whichever way it was to go.
    for payee in [to_bank(), Payee::Manual { note: "In cash.".to_owned() }] {
        let house = self::house().await;
        let payout = house.approved("one", payee).await;
        house.advance().await;
        assert_eq!(house.state(&payout).await, PayoutState::Reserved);
        house.given_back(&house.bought().await).await;
        let told = house.payouts.export(&house.finance, payout.currency, Some("Friday's file.")).await;
        assert_eq!(code(told), "conflict");
        if payout.method == app::payouts::Method::Manual {
            let paid = house.payouts.mark_paid(&house.finance, payout.id, "cash-1", Some("Paid.")).await;
            assert_eq!(code(paid), "payout_held");
        }
        assert_eq!(house.state(&payout).await, PayoutState::Reserved);
    }
}

#[tokio::test]
async fn a_challenge_that_began_anew_pays_nothing_once_the_first_one_was_given_back() {
    let house = house().await;
    let anew = house.bought().await;
    let first = house.world.challenge(house.firm, &house.trader, "two-step").await.challenge;
    let root = house.bought().await;
    // As if the one had begun anew with the other.
    let mut owner = house.world.database.superuser().await;
    sqlx::query("update purchases set bought = 'reset', reset_of = $1, root_id = $2 where id = $3")
        .bind(first.uuid())
        .bind(root.id.uuid())
        .bind(anew.id.uuid())
        .execute(&mut owner)
        .await
        .unwrap();
    let payout = house.approved("one", to_stripe()).await;
    house.given_back(&root).await;
    house.advance().await;
    assert_eq!(house.state(&payout).await, PayoutState::Approved);
    assert_eq!(house.taker.asked.load(Ordering::Relaxed), 0, "nothing has left the account");
}

#[tokio::test]
async fn nobody_moves_money_alone_to_where_nobody_else_has_looked() {
    let house = house().await;
    let payout = house.approved("one", to_bank()).await;
    house.advance().await;
    let export = || house.payouts.export(&house.finance, payout.currency, Some("A file."));
    export().await.unwrap();
    house.payouts.mark_returned(&house.finance, payout.id, Some("The account is closed.")).await.unwrap();
    let mine = || {
        Some(Payee::BankFile(BankAccount {
            name: "Somebody else".to_owned(),
            iban: "GB82WEST12345698765432".to_owned(),
            bic: None,
        }))
    };
    let again = |payee| house.payouts.send_again(&house.finance, payout.id, payee, Some("Elsewhere."));
    assert_eq!(again(mine()).await.unwrap().state, PayoutState::PayeeInReview);
    house.advance().await;
    assert_eq!(code(export().await), "conflict", "nothing waits for the bank");
    let agree = |who| house.payouts.review(who, payout.id, true, Some("It is theirs."));
    assert_eq!(code(agree(&house.finance).await), "four_eyes", "they have named it themselves");
    // Turned away, it does not go there by another way.
    house.payouts.review(&house.admin, payout.id, false, Some("It is not theirs.")).await.unwrap();
    assert_eq!(house.now(&payout).await.reason, None, "that is for the firm's people");
    assert_eq!(code(again(None).await), "conflict");
    assert_eq!(again(mine()).await.unwrap().state, PayoutState::PayeeInReview);
    house.payouts.review(&house.admin, payout.id, false, Some("Still not.")).await.unwrap();
    assert_eq!(again(Some(to_bank())).await.unwrap().state, PayoutState::PayeeInReview);
    assert_eq!(agree(&house.admin).await.unwrap().state, PayoutState::Reserved);
    export().await.unwrap();
    house.payouts.mark_paid(&house.finance, payout.id, "bank-1", Some("Paid.")).await.unwrap();
    house.settled(&payout, "bank", None).await;
    // By a way that the firm does not use.
    let mut settings = house.payouts.settings(&house.admin).await.unwrap();
    settings.methods = [app::payouts::Method::BankFile].into();
    house.payouts.set_settings(&house.admin, &settings, Some("The bank only.")).await.unwrap();
    house.payouts.mark_returned(&house.finance, payout.id, Some("It came back.")).await.unwrap();
    assert!(matches!(again(Some(to_stripe())).await, Err(AppError::Invalid(_))));
    // Whoever is paid is one of the firm's people.
    let theirs = Person { roles: [app::Role::Trader, app::Role::Finance].into(), ..house.trader.clone() };
    let theirs = house.world.context_of(house.firm, &theirs);
    let told = house.payouts.send_again(&theirs, payout.id, None, Some("To me.")).await;
    assert_eq!(code(told), "four_eyes");
    let told = house.payouts.mark_paid(&theirs, payout.id, "mine", Some("Paid to me.")).await;
    assert_eq!(code(told), "four_eyes");
    assert_eq!(code(house.payouts.mark_returned(&theirs, payout.id, Some("Mine.")).await), "four_eyes");
}

#[tokio::test]
async fn how_many_have_to_agree_was_decided_when_it_was_asked_for() {
    let house = house().await;
    house.set(false, None).await;
    let payout = house.ask("one", to_stripe()).await.unwrap();
    house.set(false, Some("100000")).await;
    let agree = |who| house.payouts.review(who, payout.id, true, Some("All is well."));
    assert_eq!(agree(&house.admin).await.unwrap().state, PayoutState::InReview, "two have to agree");
    assert_eq!(agree(&house.finance).await.unwrap().state, PayoutState::Approved);
}

#[tokio::test]
async fn what_a_provider_told_of_a_payout_is_forgotten_with_whom_it_is_about() {
    let house = house().await;
    let payout = house.approved("one", to_paypal()).await;
    house.advance().await;
    let called = house.called(&payout).await;
    house.paypal.payout_becomes(&called, "SUCCESS");
    house.told(ProviderName::Paypal, &called).await;
    let store = &house.world.store;
    let tell = async |event: &str, about: About| {
        let notice = Notice {
            provider: ProviderName::Paypal,
            id: event.to_owned(),
            kind: "PAYMENT.PAYOUTS-ITEM.SUCCEEDED".to_owned(),
            about,
            at: house.world.clock.now(),
        };
        let body = br#"{"receiver":"amina@example.com"}"#.to_vec();
        let new = NewNotice::new(notice, body, house.world.clock.now()).unwrap();
        store.keep_notices(house.firm, &[new]).await.unwrap();
    };
    let follow = async || {
        for claimed in store.claim_notices(Span::from_seconds(60), 10).await.unwrap() {
            let done = Tried::Done(Some(house.trader.id));
            store.settle_notice(&claimed, &done, house.world.clock.now()).await.unwrap();
        }
    };
    let kept = async || {
        let mut owner = house.world.database.superuser().await;
        let rows: Vec<String> =
            sqlx::query_scalar("select event from provider_notices where body is not null order by event")
                .fetch_all(&mut owner)
                .await
                .unwrap();
        rows
    };
    tell("before", About::Payout(called.clone())).await;
    follow().await;
    tell("other", About::Other).await;
    assert_eq!(kept().await, ["before", "other"]);
    let erased = Erased { firm: house.firm, person: house.trader.id, at: house.world.clock.now(), by: None };
    store.erase(&erased, &house.world.entry(house.firm, "privacy.erase", &house.trader)).await.unwrap();
    assert_eq!(kept().await, ["other"]);
    // It is told once more.
    tell("after", About::Payout(called)).await;
    follow().await;
    assert_eq!(kept().await, ["other"]);
    // What is about nobody that we know goes in time, whether somebody has to look at it or not.
    tell("stuck", About::Payout("unknown".to_owned())).await;
    for claimed in store.claim_notices(Span::from_seconds(60), 10).await.unwrap() {
        let failed = Tried::Failed { again: None, error: "Nobody knows it.".to_owned() };
        store.settle_notice(&claimed, &failed, house.world.clock.now()).await.unwrap();
    }
    let upkeep = async |days: u32| {
        let at = house.world.clock.now().after(Span::from_days(days).unwrap()).unwrap();
        store.keep_up(Upkeep::ProviderNotices, at).await.unwrap();
    };
    upkeep(29).await;
    assert_eq!(kept().await, ["other", "stuck"]);
    upkeep(31).await;
    assert_eq!(kept().await, [""; 0]);
    // A person may have it pulled again, as often as one that is new.
    assert!(store.again(house.firm, ProviderName::Paypal, "stuck").await.unwrap());
    let claimed = store.claim_notices(Span::from_seconds(60), 10).await.unwrap();
    assert_eq!(claimed.iter().map(|it| (it.event.as_str(), it.attempts)).collect::<Vec<_>>(), [("stuck", 1)]);
}

#[tokio::test]
async fn what_has_arrived_of_payouts_agrees_with_the_books_and_is_found_where_it_does_not() {
    let house = house().await;
    let world = &house.world;
    let books = Reconciliation::new(
        world.store.clone(),
        Providers::default(),
        world.clock.clone(),
        world.rng.clone(),
    )
    .with_payouts(world.store.clone());
    let found = async || {
        books.run(&house.nobody(), OwnBooks::Own).await.unwrap();
        let wanted = Wishes { state: Some(DifferenceState::Open), ..Wishes::default() };
        let found = books.differences(&house.admin, &wanted, 10).await.unwrap();
        found
            .into_iter()
            .map(|it| (it.found.difference.family, it.found.ours, it.found.theirs))
            .collect::<Vec<_>>()
    };
    let payout = house.approved("one", to_stripe()).await;
    assert_eq!(found().await, []);
    house.advance().await;
    assert_eq!(found().await, []);
    let called = house.called(&payout).await;
    let back = app::payments::port::Reference::parse("back-1").unwrap();
    house.provider(ProviderName::Stripe).take_back_payout(&called, &back).await.unwrap();
    house.told(ProviderName::Stripe, &called).await;
    assert_eq!(found().await, [], "what came back after it had arrived has not arrived");
    house.payouts.send_again(&house.finance, payout.id, None, Some("Once more.")).await.unwrap();
    house.advance().await;
    assert_eq!(found().await, []);
    let mut owner = world.database.superuser().await;
    sqlx::query("update payout_attempts set state = 'sent' where number = 2")
        .execute(&mut owner)
        .await
        .unwrap();
    assert_eq!(found().await, [("paid_out".to_owned(), Some(80_000), Some(0))]);
}

#[tokio::test]
async fn what_fails_for_one_part_of_the_money_holds_up_no_other_one() {
    let house = house().await;
    let world = &house.world;
    let (clock, rng) = (world.clock.clone(), world.rng.clone());
    let store = || world.store.clone();
    let providers = || house.providers.clone();
    let purchases = Arc::new(Purchases::new(store(), store(), clock.clone(), rng.clone()));
    let checkouts = Checkouts::new(store(), purchases.clone(), providers(), clock.clone(), rng.clone());
    let checkouts = Arc::new(checkouts);
    let refunds = Arc::new(Refunds::new(store(), providers(), clock.clone(), rng.clone()));
    let disputes =
        Arc::new(Disputes::new(store(), store(), providers(), Thresholds::default(), clock.clone()));
    let parts = Parts {
        providers: providers(),
        checkouts: checkouts.clone(),
        refunds: refunds.clone(),
        disputes: disputes.clone(),
        payouts: house.payouts.clone(),
    };
    let keeper = MoneyKeeper {
        following: Arc::new(Following::new(store(), parts, clock.clone(), rng)),
        checkouts,
        refunds,
        disputes,
        holder: Arc::new(Holder::new(store(), Desk::new([]), clock.clone(), world.rng.clone())),
        payouts: house.payouts.clone(),
        kyc: Arc::new(kyc(world).0),
        purchases,
        ledger: Arc::new(Ledger::new(store(), clock)),
        // One of them is unknown here.
        firms: vec![FirmId::derived(&[b"nobody"]), house.firm],
        purchase_paid: Arc::default(),
    };
    let payout = house.approved("one", to_stripe()).await;
    let mut owner = world.database.superuser().await;
    let away = "revoke select on checkouts, disputes, refunds from tradesense_app, tradesense_worker";
    sqlx::raw_sql(away).execute(&mut owner).await.unwrap();
    keeper.round().await;
    assert_eq!(house.state(&payout).await, PayoutState::Settled);
}

#[tokio::test]
async fn what_the_engine_refuses_costs_nothing_and_says_which_verdict() {
    let house = house().await;
    *house.taker.next.lock().unwrap() = vec![Taking::Refuses];
    let payout = house.approved("one", to_stripe()).await;
    house.advance().await;
    let refused = house.now(&payout).await;
    assert_eq!((refused.state, refused.verdict), (PayoutState::Refused, Some(7)));
    assert_eq!(refused.reason.as_deref(), Some("the cycle has not ended"));
    assert_eq!(house.books().await, BTreeMap::new());
    let too_much =
        Request { account: house.account, amount: Some(Amount::parse("1001").unwrap()), payee: to_stripe() };
    assert_eq!(code(house.payouts.request(&house.buyer, &key("two"), too_much).await), "payout_refused");
    let stranger = house.world.person(house.firm, "stranger@one.example").await;
    let stranger = house.world.context_of(house.firm, &stranger);
    let theirs = Request { account: house.account, amount: None, payee: to_stripe() };
    let told = house.payouts.request(&stranger, &key("three"), theirs).await;
    assert!(matches!(told, Err(AppError::NotFound("account"))));
    assert!(matches!(house.payouts.get(&stranger, payout.id).await, Err(AppError::NotFound("payout"))));
    let rejected = house.ask("four", to_stripe()).await.unwrap();
    let told =
        house.payouts.review(&house.admin, rejected.id, false, Some("Two accounts hedge.")).await.unwrap();
    assert_eq!((told.state, told.reason.as_deref()), (PayoutState::Rejected, Some("Two accounts hedge.")));
    house.advance().await;
    assert_eq!(house.taker.taken.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_payout_is_in_one_file_for_the_bank_and_the_file_stays_the_same() {
    let house = house().await;
    let payout = house.approved("one", to_bank()).await;
    house.advance().await;
    assert_eq!(house.state(&payout).await, PayoutState::Reserved);
    let dollars = payout.currency;
    let export = || house.payouts.export(&house.finance, dollars, Some("Friday's file."));
    let (one, two) = tokio::join!(export(), export());
    let made: Vec<_> = [one, two].into_iter().flatten().collect();
    assert!(!made.is_empty());
    assert_eq!(house.state(&payout).await, PayoutState::Sent);
    let mut lines = 0;
    for batch in &made {
        let file = house.payouts.bank_file(&house.finance, *batch, Some("To the bank.")).await.unwrap();
        let again = house.payouts.bank_file(&house.finance, *batch, Some("To the bank.")).await.unwrap();
        assert_eq!((csv(&file), pain001(&file).unwrap()), (csv(&again), pain001(&again).unwrap()));
        lines += file.lines.len();
        if let Some(line) = file.lines.first() {
            assert_eq!(line.amount, usd("800"));
            assert!(pain001(&file).unwrap().contains("<InstdAmt Ccy=\"USD\">800.00</InstdAmt>"));
            assert!(csv(&file).contains("DE89370400440532013000"));
        }
    }
    assert_eq!(lines, 1);
    assert_eq!(code(export().await), "conflict", "nothing is left");
    house.payouts.mark_returned(&house.finance, payout.id, Some("The account is closed.")).await.unwrap();
    assert_eq!(house.state(&payout).await, PayoutState::Returned);
    house.payouts.send_again(&house.finance, payout.id, Some(to_bank()), Some("Again.")).await.unwrap();
    house.payouts.export(&house.finance, dollars, Some("Another file.")).await.unwrap();
    for _ in 0..2 {
        house
            .payouts
            .mark_paid(&house.finance, payout.id, "bank-1", Some("On the statement."))
            .await
            .unwrap();
    }
    house.settled(&payout, "bank", None).await;
}

#[tokio::test]
async fn a_certificate_proves_what_it_says_to_whoever_has_its_code() {
    let house = house().await;
    let world = &house.world;
    let certificates = Certificates::new(world.store.clone(), world.clock.clone(), world.rng.clone());
    let payout = house.approved("one", to_stripe()).await;
    let none = certificates.of(&house.buyer, Subject::Payout(payout.id)).await;
    assert!(matches!(none, Err(AppError::NotFound("certificate"))), "it has not arrived");
    house.advance().await;
    let certificate = certificates.of(&house.buyer, Subject::Payout(payout.id)).await.unwrap();
    assert_eq!(certificates.of(&house.buyer, Subject::Payout(payout.id)).await.unwrap(), certificate);
    assert_eq!(certificate.proven, Proven::Paid(usd("800")));
    assert_eq!((certificate.program.as_str(), certificate.trader.as_str()), ("Two steps", "trader"));
    assert_eq!(certificates.verify(&house.nobody(), &certificate.code).await.unwrap(), certificate);
    for wrong in ["", "0", &"0".repeat(32), &certificate.code.to_uppercase()] {
        assert!(certificates.verify(&house.nobody(), wrong).await.is_err(), "{wrong}");
    }
    let pdf = certificate.pdf("https://firm.example/v1/certificates/x");
    assert!(pdf.starts_with(b"%PDF-1.4") && pdf.ends_with(b"%%EOF\n"));
    assert!(certificates.of(&house.admin, Subject::Payout(payout.id)).await.is_err(), "it is the trader's");
    let phase = certificates.of(&house.buyer, Subject::Phase(house.account)).await;
    assert!(phase.is_err(), "the phase is not passed");
}

/// A line to an engine that is driven by hand.
struct ByHand(mpsc::Sender<Asked>);

enum Asked {
    Submit(Command, oneshot::Sender<Submitted>),
    View(AccountId, oneshot::Sender<Option<Arc<View>>>),
}

#[async_trait]
impl Line for ByHand {
    async fn submit(&self, command: Command, _: Origin) -> Result<Submitted, LineError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked::Submit(command, answer)).await.map_err(|_| LineError::Gone)?;
        answered.await.map_err(|_| LineError::Gone)
    }

    async fn view(&self, account: AccountId) -> Result<Option<Arc<View>>, LineError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked::View(account, answer)).await.map_err(|_| LineError::Gone)?;
        answered.await.map_err(|_| LineError::Gone)
    }

    async fn forecast(&self, _: AccountId) -> Result<Option<Box<Forecast>>, LineError> {
        Ok(None)
    }

    async fn watch(&self, _: AccountId) -> Result<Option<Views>, LineError> {
        Ok(None)
    }
}

#[tokio::test]
async fn the_engine_decides_takes_once_and_is_believed_by_its_journal_however_long_ago() {
    let house = house().await;
    let (sender, mut asked) = mpsc::channel(8);
    let line: Arc<dyn Line> = Arc::new(ByHand(sender));
    let store = house.world.store.clone();
    let at_desk = Arc::new(AtDesk::new(Desk::new([line]), store.clone()));
    let taker: Arc<dyn Taker> = at_desk.clone();
    let (clock, rng) = (house.world.clock.clone(), house.world.rng.clone());
    let payouts = Payouts::new(store.clone(), taker, Providers::default(), clock, rng);
    let mut owner = Owner::take(&house.world, 0).await;
    // A profit of about 1,000 dollars.
    owner.quote("EURUSD", 110_000, 110_002);
    owner.buy(house.account, "EURUSD", 1).unwrap();
    owner.quote("EURUSD", 111_100, 111_102);
    let open = *owner.engine.account(house.account).unwrap().positions.keys().next().unwrap();
    owner.close(house.account, open).unwrap();
    let _proof = owner.commit().await.unwrap();
    let balance = owner.engine.account(house.account).unwrap().balance;
    let manual = || Payee::Manual { note: String::new() };
    let all = async {
        let more =
            Request { account: house.account, amount: Some(Amount::parse("5000").unwrap()), payee: manual() };
        assert_eq!(code(payouts.request(&house.buyer, &key("more"), more).await), "payout_refused");
        let request =
            Request { account: house.account, amount: Some(Amount::parse("500").unwrap()), payee: manual() };
        let payout = payouts.request(&house.buyer, &key("one"), request).await.unwrap();
        assert_eq!(payout.expected, usd("400"));
        payouts.review(&house.admin, payout.id, true, Some("All is well.")).await.unwrap();
        payouts.advance(&house.nobody()).await.unwrap();
        let done = house.now(&payout).await;
        assert_eq!((done.state, done.share), (PayoutState::Reserved, Some(usd("400"))));
        assert_eq!(done.taken, Some(Amount::parse("500").unwrap()));
        assert!(done.verdict.is_some());
        // Asked again, and long after the engine has forgotten the key, the answer is the same.
        let before = Payout { state: PayoutState::Approved, taken: None, share: None, ..done.clone() };
        house.world.clock.advance(Span::from_seconds(72 * 3_600));
        let again = at_desk.take(house.firm, &before).await.unwrap();
        let share = Money::parse("400", payout.currency).unwrap();
        assert_eq!(again, Answer::Taken { verdict: done.verdict, taken: payout.asked, share });
        payouts.mark_paid(&house.finance, payout.id, "cash-1", Some("Paid.")).await.unwrap();
        let rest = Request { account: house.account, amount: None, payee: manual() };
        let rest = payouts.request(&house.buyer, &key("rest"), rest).await.unwrap();
        payouts.review(&house.admin, rest.id, true, Some("All is well.")).await.unwrap();
        rest
    };
    let mut all = std::pin::pin!(all);
    let rest = loop {
        tokio::select! {
            rest = &mut all => break rest,
            Some(asked) = asked.recv() => serve(&mut owner, asked).await,
        }
    };
    let left = owner.engine.account(house.account).unwrap().balance;
    assert_eq!(balance.minus(left).unwrap(), Amount::parse("500").unwrap(), "once");
    // What was let go is lost again before the engine is asked: it refuses, and says so in a verdict.
    owner.quote("EURUSD", 111_100, 111_102);
    owner.buy(house.account, "EURUSD", 2).unwrap();
    owner.quote("EURUSD", 110_000, 110_002);
    let open = *owner.engine.account(house.account).unwrap().positions.keys().next().unwrap();
    owner.close(house.account, open).unwrap();
    let _proof = owner.commit().await.unwrap();
    let context = house.nobody();
    let mut advance = std::pin::pin!(payouts.advance(&context));
    loop {
        tokio::select! {
            moved = &mut advance => { moved.unwrap(); break; }
            Some(asked) = asked.recv() => serve(&mut owner, asked).await,
        }
    }
    let refused = house.now(&rest).await;
    assert_eq!(refused.state, PayoutState::Refused, "{:?}", refused.reason);
    assert!(refused.verdict.is_some());
    let books = house.books().await;
    assert_eq!(books.get("trader_rewards"), Some(&40_000));
    assert_eq!(books.get("bank"), Some(&-40_000));
}

async fn serve(owner: &mut Owner<'_>, asked: Asked) {
    match asked {
        Asked::Submit(command, answer) => {
            let outcome = owner.command(command, None);
            let _proof = owner.commit().await.unwrap();
            let _gone = answer.send(Submitted { outcome, repeated: false, left: None });
        }
        Asked::View(account, answer) => {
            let view = owner.engine.view(account).unwrap().map(Arc::new);
            let _gone = answer.send(view);
        }
    }
}
