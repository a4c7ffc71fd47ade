//! The books against those of Stripe and PayPal, against our own records, and the sums that finance reads.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::{Owner, market, usd};
use crate::connected::{Connected, connected};
use app::finance::{By, Days, Finance, FinanceStore as _, Report, Row, day_of};
use app::identity::Person;
use app::ledger::posting::{self, Event, PaidFrom};
use app::ledger::{
    Account, AsOf, Balance, Hold, HoldState, Ledger, LedgerStore as _, Outcome, Provider as InLedger,
};
use app::payments::Providers;
use app::payments::port::{
    Destination, NewCheckout, NewPayout, NewRefund, Provider, ProviderName, Reference,
};
use app::purchases::{Order, Purchase, PurchaseEvent};
use app::reconciliation::{
    DifferenceState, Kept, Kind, PaidOut, Payouts, Reconciliation, Remedy, Run, RunState, Subject, Wanted,
};
use app::{AppError, Context};
use async_trait::async_trait;
use engine::Key;
use futures_util::future::join_all;
use kernel::{Clock as _, EntryId, FirmId, HoldId, Money, PurchaseId, Side, Span};
use testkit::payments::Fault;
use testkit::payments::paypal::FakePaypal;
use testkit::payments::stripe::FakeStripe;
use testkit::{World, program};

const STRIPE: Subject = Subject::Provider(ProviderName::Stripe);
const PAYPAL: Subject = Subject::Provider(ProviderName::Paypal);

struct Shop {
    world: World,
    firm: FirmId,
    admin: Context,
    finance: Person,
    trader: Person,
    buyer: Context,
    version: String,
    stripe: FakeStripe,
    paypal: FakePaypal,
    providers: Providers,
    books: Reconciliation,
}

async fn shop() -> Shop {
    let world = World::new().await;
    let firm = world.firm("one").await;
    world.publish(firm, "two-step", program("Two steps")).await;
    let finance = world.admin(firm, "finance").await;
    let admin = world.context_of(firm, &finance);
    let trader = world.person(firm, "trader@one.example").await;
    let buyer = world.context_of(firm, &trader);
    let version = world.catalogue.get(firm, "two-step").await.unwrap().version.to_string();
    let Connected { stripe, paypal, providers, .. } = connected(&world, firm).await;
    let (store, clock) = (world.store.clone(), world.clock.clone());
    let books = Reconciliation::new(store, providers.clone(), clock, world.rng.clone());
    Shop { world, firm, admin, finance, trader, buyer, version, stripe, paypal, providers, books }
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn in_ledger(name: ProviderName) -> InLedger {
    name.in_ledger().unwrap()
}

fn only(by: &str) -> By {
    By { day: by.contains("day"), program: by.contains("program"), provider: by.contains("provider") }
}

/// A purchase that somebody has paid, and what the provider calls the payment.
struct Paid {
    purchase: Purchase,
    payment: String,
    provider: ProviderName,
}

impl Shop {
    fn at(&self, name: ProviderName) -> Arc<dyn Provider> {
        self.providers.of(self.firm, name).unwrap().clone()
    }

    fn later(&self, seconds: i32) {
        self.world.clock.advance(Span::from_seconds(seconds));
    }

    async fn happens(&self, purchase: PurchaseId, event: PurchaseEvent) {
        let nobody = self.world.context(self.firm);
        let at = self.world.clock.now();
        self.world.purchases.happened(&nobody, purchase, &event, at).await.unwrap();
    }

    /// Somebody buys and pays at the provider; nobody tells us.
    async fn paid(&self, key: &str, provider: ProviderName) -> Paid {
        let order = Order { slug: "two-step".to_owned(), version: self.version.clone(), ..Order::default() };
        let bought = self.world.purchases.buy(&self.buyer, &Key::parse(key).unwrap(), order).await.unwrap();
        let page = NewCheckout {
            attempt: reference(&format!("{key}-1")),
            purchase: reference(&bought.id.to_string()),
            price: bought.fee,
            title: "Two steps".to_owned(),
            email: None,
            success_url: "https://one.example/done".to_owned(),
            cancel_url: "https://one.example/back".to_owned(),
            expires_at: None,
        };
        let page = self.at(provider).open_checkout(&page).await.unwrap();
        let payment = match provider {
            ProviderName::Stripe => self.stripe.pay(&page.id),
            ProviderName::Paypal => {
                self.paypal.approve(&page.id);
                let capture = reference(&format!("{key}-capture"));
                self.at(provider).capture(&page.id, &capture).await.unwrap().payment.unwrap().id
            }
        };
        Paid { purchase: bought, payment, provider }
    }

    async fn captured(&self, paid: &Paid) {
        let provider = in_ledger(paid.provider);
        let (payment, amount) = (paid.payment.clone(), paid.purchase.fee);
        self.happens(paid.purchase.id, PurchaseEvent::Captured { provider, payment, amount }).await;
    }

    async fn sold(&self, key: &str, provider: ProviderName) -> Paid {
        let paid = self.paid(key, provider).await;
        self.captured(&paid).await;
        paid
    }

    async fn refund(&self, paid: &Paid, key: &str, amount: Money) -> PurchaseEvent {
        let new = NewRefund {
            refund: reference(key),
            payment: paid.payment.clone(),
            amount,
            first_asked_at: self.world.clock.now(),
        };
        let refund = self.at(paid.provider).refund(&new).await.unwrap();
        let (provider, payment) = (in_ledger(paid.provider), paid.payment.clone());
        PurchaseEvent::Refunded { provider, payment, refund: refund.id, amount }
    }

    fn dispute(&self, paid: &Paid) -> (String, PurchaseEvent) {
        let (dispute, fee) = match paid.provider {
            ProviderName::Stripe => (self.stripe.dispute(&paid.payment, false), Some(usd("15"))),
            ProviderName::Paypal => (self.paypal.dispute(&paid.payment, false), None),
        };
        let (provider, amount) = (in_ledger(paid.provider), paid.purchase.fee);
        (dispute.clone(), PurchaseEvent::DisputeOpened { provider, dispute, amount, fee })
    }

    fn decide(&self, paid: &Paid, dispute: &str, won: bool) -> PurchaseEvent {
        let (provider, name) = (in_ledger(paid.provider), dispute.to_owned());
        match paid.provider {
            ProviderName::Stripe => self.stripe.decide(dispute, won),
            ProviderName::Paypal => {
                let outcome = if won { "RESOLVED_SELLER_FAVOUR" } else { "RESOLVED_BUYER_FAVOUR" };
                self.paypal.decide(dispute, outcome);
            }
        }
        if won {
            PurchaseEvent::DisputeWon { provider, dispute: name }
        } else {
            PurchaseEvent::DisputeLost { provider, dispute: name }
        }
    }

    /// A payout that is owed, held and sent; the provider's name of it.
    async fn send_payout(&self, payout: &str, provider: ProviderName, amount: Money) -> String {
        let at = self.world.clock.now();
        let (store, person) = (&self.world.store, self.trader.id);
        let cause = || format!("payout:{payout}");
        let event = Event { id: EntryId::derived(&[b"reward", payout.as_bytes()]), cause: cause(), at };
        store.post(self.firm, &[posting::reward(event, person, amount).unwrap()], at).await.unwrap();
        let hold = Hold {
            id: HoldId::derived(&[payout.as_bytes()]),
            account: Account::TraderPayable(person),
            amount,
            cause: cause(),
            opened_at: at,
            expires_at: None,
            state: HoldState::Pending,
        };
        store.open_hold(self.firm, &hold, at).await.unwrap();
        let to = Account::PayoutClearing(in_ledger(provider));
        store.end_hold(self.firm, hold.id, &Outcome::Post(amount, to), at).await.unwrap().unwrap();
        let new = NewPayout {
            payout: reference(&format!("payout-{payout}")),
            attempt: reference(&format!("payout-{payout}-1")),
            amount,
            to: match provider {
                ProviderName::Stripe => Destination::StripeAccount("acct_1Amina".to_owned()),
                ProviderName::Paypal => Destination::PaypalEmail("amina@example.com".to_owned()),
            },
            note: "Your share".to_owned(),
            first_asked_at: at,
        };
        self.at(provider).send_payout(&new).await.unwrap().id
    }

    async fn payout_settled(&self, payout: &str, provider: ProviderName, amount: Money, fee: Option<Money>) {
        let at = self.world.clock.now();
        let id = EntryId::derived(&[b"settled", payout.as_bytes()]);
        let event = Event { id, cause: format!("payout:{payout}"), at };
        let from = PaidFrom::Provider(in_ledger(provider));
        let entry = posting::payout_settled(event, &in_ledger(provider), &from, amount, fee).unwrap();
        self.world.store.post(self.firm, &[entry], at).await.unwrap();
    }

    /// The settled payout came back: what the provider holds is there again, and owed.
    async fn payout_returned(&self, payout: &str, provider: ProviderName, amount: Money) {
        let at = self.world.clock.now();
        let id = EntryId::derived(&[b"settled", payout.as_bytes()]);
        let ledger = Ledger::new(self.world.store.clone(), self.world.clock.clone());
        ledger.reverse(self.firm, id, at, "It came back.").await.unwrap();
        let id = EntryId::derived(&[b"returned", payout.as_bytes()]);
        let event = Event { id, cause: format!("payout:{payout}"), at };
        let to = Account::TraderPayable(self.trader.id);
        let entry = posting::payout_returned(event, &in_ledger(provider), to, amount).unwrap();
        self.world.store.post(self.firm, &[entry], at).await.unwrap();
    }

    /// Time passes, and the books are compared.
    async fn compared(&self, subject: Subject) -> Run {
        self.later(5 * 3_600);
        let run = self.books.run(&self.world.context(self.firm), subject).await.unwrap();
        assert_eq!((run.state, run.ended_at.is_some()), (RunState::Done, true));
        run
    }

    async fn differences(&self, state: DifferenceState) -> Vec<Kept> {
        let wanted = Wanted { state: Some(state), ..Wanted::default() };
        self.books.differences(&self.admin, &wanted, 1_000).await.unwrap()
    }

    async fn open(&self) -> Vec<(String, Kind)> {
        let found = self.differences(DifferenceState::Open).await;
        let mut said: Vec<_> =
            found.iter().map(|it| (it.found.difference.family.clone(), it.found.difference.kind)).collect();
        said.sort();
        said
    }

    async fn balances(&self) -> BTreeMap<String, i64> {
        let books = self.world.store.books(self.firm, AsOf::default()).await.unwrap();
        assert!(books.balanced().unwrap());
        assert_eq!(self.world.store.money_faults(self.firm).await.unwrap(), []);
        let net = |it: &Balance| (it.account.to_string(), it.debits - it.credits);
        books.balances.iter().map(net).filter(|(_, net)| *net != 0).collect()
    }

    async fn clearing(&self, name: ProviderName) -> i64 {
        self.balances().await.get(&format!("provider_clearing:{}", name.word())).copied().unwrap_or_default()
    }

    /// What PayPal's books sum up to.
    async fn held_by_paypal(&self) -> i64 {
        let (from, to) =
            (self.world.clock.now().before(Span::from_days(10).unwrap()).unwrap(), self.world.clock.now());
        let page = self.at(ProviderName::Paypal).entries(from, to, None).await.unwrap();
        assert_eq!(page.next, None);
        page.items.iter().map(|entry| entry.net.minor()).sum()
    }

    async fn all_agree(&self) {
        for subject in [STRIPE, PAYPAL, Subject::Own] {
            self.compared(subject).await;
        }
        assert_eq!(self.open().await, []);
        assert_eq!(self.clearing(ProviderName::Stripe).await, self.stripe.balance("usd"));
        assert_eq!(self.clearing(ProviderName::Paypal).await, self.held_by_paypal().await);
        assert_eq!((self.stripe.wrong(), self.paypal.wrong()), (vec![], vec![]));
    }
}

/// Sales, refunds in part and whole, one that failed, disputes won and lost, payouts settled and returned, at both providers.
async fn a_busy_week(shop: &Shop) {
    for (number, provider) in [ProviderName::Stripe, ProviderName::Paypal].into_iter().enumerate() {
        let key = |what: &str| format!("{what}{number}");
        let mut sold = Vec::new();
        for sale in 0..6 {
            sold.push(shop.sold(&key(&format!("sale{sale}-")), provider).await);
            shop.later(60);
        }
        let part = shop.refund(&sold[0], &key("part"), usd("100.01")).await;
        shop.happens(sold[0].purchase.id, part).await;
        let rest = shop.refund(&sold[0], &key("rest"), usd("389.99")).await;
        shop.happens(sold[0].purchase.id, rest).await;
        for (place, won) in [(1, true), (2, false)] {
            let (dispute, opened) = shop.dispute(&sold[place]);
            shop.happens(sold[place].purchase.id, opened).await;
            shop.later(3_600);
            let decided = shop.decide(&sold[place], &dispute, won);
            shop.happens(sold[place].purchase.id, decided).await;
        }
        let arrived = shop.send_payout(&key("arrived"), provider, usd("80")).await;
        let returned = shop.send_payout(&key("returned"), provider, usd("70")).await;
        if provider == ProviderName::Paypal {
            shop.paypal.payout_becomes(&arrived, "SUCCESS");
            shop.paypal.payout_becomes(&returned, "SUCCESS");
        }
        shop.payout_settled(&key("arrived"), provider, usd("80"), None).await;
        shop.payout_settled(&key("returned"), provider, usd("70"), None).await;
        shop.later(60);
        if provider == ProviderName::Paypal {
            shop.paypal.payout_becomes(&returned, "RETURNED");
        } else {
            shop.at(provider).take_back_payout(&returned, &reference("back")).await.unwrap();
        }
        shop.payout_returned(&key("returned"), provider, usd("70")).await;
    }
    // Known from the provider's books alone.
    shop.stripe.top_up(100_000, "usd");
    // A refund that came back.
    let paid = shop.sold("failing", ProviderName::Stripe).await;
    shop.stripe.refunds_pend();
    let event = shop.refund(&paid, "comes-back", usd("490")).await;
    let PurchaseEvent::Refunded { provider, refund, .. } = event.clone() else { panic!() };
    shop.happens(paid.purchase.id, event).await;
    shop.later(60);
    shop.stripe.finish_refund(&refund, false);
    let reason = "The card is closed.".to_owned();
    shop.happens(paid.purchase.id, PurchaseEvent::RefundFailed { provider, refund, reason }).await;
}

#[tokio::test]
async fn when_everything_was_told_nothing_differs_and_what_a_provider_holds_is_its_balance_to_the_cent() {
    let shop = shop().await;
    a_busy_week(&shop).await;
    shop.all_agree().await;
    let balances = shop.balances().await;
    // 2.9 % and 0.30 of seven sales; 15.00 for two disputes, told with them.
    assert_eq!(balances["provider_fees:stripe"], 7 * (49_000 * 29 / 1_000 + 30) + 2 * 1_500);
    // 3.49 % and 0.49 of six sales; 0.25 for a payout, and again for one that came back with it.
    assert_eq!(balances["provider_fees:paypal"], 6 * (49_000 * 349 / 10_000 + 49) + 25);
    assert_eq!(balances["bank"], -100_000);
    let runs = shop.books.runs(&shop.admin, None, 100).await.unwrap();
    assert_eq!(runs.iter().filter(|run| run.counts.posted > 0).count(), 2);

    // Again, and from the beginning: nothing is posted twice.
    shop.all_agree().await;
    assert_eq!(shop.balances().await, balances);
    let runs = shop.books.runs(&shop.admin, None, 100).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.counts.found + run.counts.vanished).sum::<i64>(), 0);
    let second = runs.iter().filter(|run| run.counts.posted > 0).count();
    assert_eq!((runs.len(), second), (6, 2), "{runs:?}");
    // The fees are of the purchases.
    let mut owner = shop.world.database.superuser().await;
    let causes: Vec<String> =
        sqlx::query_scalar("select cause from ledger_entries where kind = 'provider_fee'")
            .fetch_all(&mut owner)
            .await
            .unwrap();
    assert_eq!(causes.iter().filter(|cause| cause.starts_with("purchase:")).count(), 13);
}

#[tokio::test]
async fn whatever_nobody_told_is_one_difference_that_vanishes_when_it_is_told() {
    let shop = shop().await;
    for name in ["a", "b", "c"] {
        shop.sold(name, ProviderName::Stripe).await;
    }
    shop.stripe.top_up(100_000, "usd");
    shop.all_agree().await;
    for provider in [ProviderName::Stripe, ProviderName::Paypal] {
        let subject = Subject::Provider(provider);
        let key = |what: &str| format!("{what}-{}", provider.word());
        let expect = async |family: &str, kind: Kind| {
            shop.compared(subject).await;
            assert_eq!(shop.open().await, [(family.to_owned(), kind)], "{provider}");
            // Found again, it is the same one.
            shop.compared(subject).await;
            let found = shop.differences(DifferenceState::Open).await;
            assert_eq!(found.len(), 1, "{provider}");
            assert!(
                found[0].first_seen_at < found[0].last_seen_at && found[0].first_run != found[0].last_run
            );
        };
        let agree = async || {
            shop.compared(subject).await;
            assert_eq!(shop.open().await, [], "{provider}");
        };
        // A payment.
        let lost = shop.paid(&key("lost"), provider).await;
        expect("payment", Kind::NotInLedger).await;
        shop.captured(&lost).await;
        agree().await;
        // A refund, made at the provider's own screen or by us.
        let refund = shop.refund(&lost, &key("refund"), usd("90")).await;
        expect("refund", Kind::NotInLedger).await;
        shop.happens(lost.purchase.id, refund).await;
        agree().await;
        // A dispute, and that it was won.
        let disputed = shop.sold(&key("disputed"), provider).await;
        agree().await;
        let (dispute, opened) = shop.dispute(&disputed);
        expect("dispute", Kind::NotInLedger).await;
        shop.happens(disputed.purchase.id, opened).await;
        agree().await;
        let won = shop.decide(&disputed, &dispute, true);
        expect("dispute", Kind::Amount).await;
        shop.happens(disputed.purchase.id, won).await;
        agree().await;
        // That a payout has arrived may be told late; that it came back not.
        let payout = shop.send_payout(&key("payout"), provider, usd("60")).await;
        if provider == ProviderName::Paypal {
            shop.paypal.payout_becomes(&payout, "SUCCESS");
        }
        agree().await;
        shop.payout_settled(&key("payout"), provider, usd("60"), None).await;
        agree().await;
        if provider == ProviderName::Paypal {
            shop.paypal.payout_becomes(&payout, "RETURNED");
        } else {
            shop.at(provider).take_back_payout(&payout, &reference(&key("back"))).await.unwrap();
        }
        expect("payout", Kind::Amount).await;
        shop.payout_returned(&key("payout"), provider, usd("60")).await;
        agree().await;
        // The reverse: we believe in a refund that the provider knows nothing of.
        let refund = PurchaseEvent::Refunded {
            provider: in_ledger(provider),
            payment: disputed.payment.clone(),
            refund: key("invented"),
            amount: usd("5"),
        };
        shop.happens(disputed.purchase.id, refund).await;
        expect("refund", Kind::NotWithProvider).await;
        let reason = "It never was.".to_owned();
        let failed =
            PurchaseEvent::RefundFailed { provider: in_ledger(provider), refund: key("invented"), reason };
        shop.happens(disputed.purchase.id, failed).await;
        agree().await;
    }
    let vanished = shop.differences(DifferenceState::Vanished).await;
    assert_eq!(vanished.len(), 2 * 5, "a dispute is one difference, however much of it is told");
    assert!(vanished.iter().all(|it| it.resolved_at.is_some() && it.resolved_by.is_none()));
    shop.all_agree().await;
}

#[tokio::test]
async fn runs_that_are_interrupted_or_done_by_many_at_once_do_the_work_once() {
    let shop = shop().await;
    a_busy_week(&shop).await;
    shop.paid("lost", ProviderName::Stripe).await;
    shop.later(5 * 3_600);
    let nobody = shop.world.context(shop.firm);
    // Whoever began it goes away after some steps.
    let mut run = shop.books.begin(&nobody, STRIPE).await.unwrap();
    run = shop.books.step(shop.firm, &run).await.unwrap();
    assert_eq!((run.state, run.step), (RunState::Reading, 1));
    let asked = shop.books.start(&shop.admin, STRIPE).await.unwrap();
    assert_eq!(asked.id, run.id, "there is one under way");
    // Of two who do the same step one writes.
    let (one, other) = tokio::join!(shop.books.step(shop.firm, &run), shop.books.step(shop.firm, &run));
    assert_eq!((one.unwrap().step, other.unwrap().step), (2, 2));
    let told = join_all((0..8).map(|_| shop.books.run(&nobody, STRIPE))).await;
    let ids: BTreeSet<_> = told.into_iter().map(|run| run.unwrap().id).collect();
    assert!(ids.contains(&run.id));
    for _ in 0..3 {
        let told = join_all((0..8).map(|_| shop.books.daily(&nobody))).await;
        assert!(told.into_iter().all(|runs| runs.unwrap().len() == 3));
    }
    assert_eq!(shop.books.janitor(&nobody).await.unwrap(), 0);
    assert_eq!(shop.open().await, [("payment".to_owned(), Kind::NotInLedger)]);
    let mut owner = shop.world.database.superuser().await;
    let (entries, distinct): (i64, i64) = sqlx::query_as(
        "select count(*), count(distinct (cause, kind, effective_at)) from ledger_entries where kind = 'provider_fee' and cause like 'purchase:%'",
    )
    .fetch_one(&mut owner)
    .await
    .unwrap();
    assert_eq!((entries, distinct), (13, 13));
    let lines: i64 = sqlx::query_scalar("select count(*) from provider_entries where provider = 'stripe'")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    let counted: i64 = shop
        .books
        .runs(&shop.admin, None, 1_000)
        .await
        .unwrap()
        .iter()
        .filter(|run| run.subject == STRIPE)
        .map(|run| run.counts.lines)
        .sum();
    assert_eq!(counted, lines, "each line is kept once");
    // Without the payment that nobody told us of.
    let lost = 49_000 - (49_000 * 29 / 1_000 + 30);
    assert_eq!(shop.clearing(ProviderName::Stripe).await, shop.stripe.balance("usd") - lost);
}

#[tokio::test]
async fn a_comparison_that_cannot_go_on_waits_and_holds_up_no_other_one() {
    let shop = shop().await;
    shop.sold("one", ProviderName::Stripe).await;
    shop.later(5 * 3_600);
    let nobody = shop.world.context(shop.firm);
    for subject in [PAYPAL, STRIPE, Subject::Own] {
        shop.books.begin(&nobody, subject).await.unwrap();
    }
    // A read is tried three times.
    for _ in 0..6 {
        shop.stripe.meets("GET /v1/balance_transactions", Fault::Fail(500));
    }
    assert_eq!(shop.books.janitor(&nobody).await.unwrap(), 2);
    assert_eq!(shop.stripe.faults_waiting(), 3);
    for _ in 0..3 {
        assert_eq!(shop.books.janitor(&nobody).await.unwrap(), 0);
    }
    assert_eq!(shop.stripe.faults_waiting(), 3, "nobody is asked meanwhile");
    shop.later(3);
    assert_eq!(shop.books.janitor(&nobody).await.unwrap(), 0);
    assert_eq!(shop.stripe.faults_waiting(), 0);
    shop.later(2);
    assert_eq!(shop.books.janitor(&nobody).await.unwrap(), 0, "it has stood still for longer");
    shop.later(1);
    assert_eq!(shop.books.janitor(&nobody).await.unwrap(), 1);
}

#[tokio::test]
async fn a_difference_is_assigned_and_resolved_once_with_or_without_a_posting() {
    let shop = shop().await;
    shop.sold("known", ProviderName::Stripe).await;
    shop.paid("lost", ProviderName::Stripe).await;
    shop.compared(STRIPE).await;
    let found = shop.differences(DifferenceState::Open).await.remove(0);
    assert_eq!((found.found.ours, found.found.theirs), (None, Some(49_000)));
    for who in [&shop.buyer, &shop.world.context(shop.firm)] {
        let told = shop.books.resolve(who, found.id, "no", Remedy::Accept).await;
        assert!(matches!(told, Err(AppError::Forbidden | AppError::Unauthenticated)), "{told:?}");
        assert!(shop.books.differences(who, &Wanted::default(), 1).await.is_err());
        assert!(shop.books.start(who, STRIPE).await.is_err());
    }
    let owner = Some(shop.finance.id);
    let told = shop.books.assign(&shop.admin, found.id, Some(shop.trader.id)).await;
    assert!(matches!(told, Err(AppError::Invalid(_))), "{told:?}");
    let assigned = shop.books.assign(&shop.admin, found.id, owner).await.unwrap();
    assert_eq!((assigned.state, assigned.owner), (DifferenceState::Assigned, owner));
    shop.compared(STRIPE).await;
    assert_eq!(shop.differences(DifferenceState::Assigned).await.len(), 1);

    // Only what it is about is taken back for it.
    let mut database = shop.world.database.superuser().await;
    let other: uuid::Uuid = sqlx::query_scalar("select id from ledger_entries where kind = 'capture'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    let told =
        shop.books.resolve(&shop.admin, found.id, "Away.", Remedy::Reverse(EntryId::from_uuid(other))).await;
    assert!(matches!(told, Err(AppError::Refused { code: "conflict", .. })), "{told:?}");

    // A hundred resolutions at once post once.
    let told = join_all(
        (0..20).map(|_| shop.books.resolve(&shop.admin, found.id, "A sale by hand.", Remedy::PostDifference)),
    )
    .await;
    assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 1);
    let refused = told.iter().filter(|told| matches!(told, Err(AppError::Refused { code: "conflict", .. })));
    assert_eq!(refused.count(), 19);
    assert_eq!(shop.balances().await["unmatched:stripe"], -49_000);
    shop.compared(STRIPE).await;
    assert_eq!(
        (shop.open().await, shop.clearing(ProviderName::Stripe).await),
        (vec![], shop.stripe.balance("usd"))
    );
    let kept = shop.differences(DifferenceState::Resolved).await.remove(0);
    assert_eq!((kept.resolution.as_deref(), kept.resolved_by), (Some("A sale by hand."), owner));
    assert!(kept.posting.is_some());
    // Taken back, it is found again.
    let told = shop.world.store.entry(shop.firm, kept.posting.unwrap()).await.unwrap().unwrap();
    let reversal = told.entry.reversal(shop.world.clock.now(), "It was another one.").unwrap();
    shop.world.store.post(shop.firm, &[reversal], shop.world.clock.now()).await.unwrap();
    shop.compared(STRIPE).await;
    assert_eq!(shop.differences(DifferenceState::Assigned).await.len(), 1, "its owner has it in hand again");
    let resolved = shop.books.resolve(&shop.admin, found.id, "It is a test.", Remedy::Accept).await.unwrap();
    assert_eq!(resolved.posting, None);
    // What was accepted stays so as long as it is the same.
    for _ in 0..2 {
        shop.compared(STRIPE).await;
    }
    assert_eq!((shop.open().await, shop.differences(DifferenceState::Assigned).await), (vec![], vec![]));
    let mut owner = shop.world.database.superuser().await;
    let acts: Vec<(String, String)> = sqlx::query_as(
        "select action, purpose from audit_entries where object_kind = 'difference' order by id",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    let acts: Vec<(&str, &str)> =
        acts.iter().map(|(action, purpose)| (action.as_str(), purpose.as_str())).collect();
    assert_eq!(
        acts,
        [
            ("reconciliation.assign", ""),
            ("reconciliation.resolve", "A sale by hand."),
            ("reconciliation.resolve", "It is a test."),
        ]
    );
}

struct SaysOfItself(Vec<PaidOut>);

#[async_trait]
impl Payouts for SaysOfItself {
    async fn paid_out(&self, _: FirmId, after: &str, _: i64) -> Result<Vec<PaidOut>, AppError> {
        Ok(self.0.iter().filter(|it| it.payout.as_str() > after).cloned().collect())
    }
}

#[tokio::test]
async fn what_contradicts_our_own_records_is_found_in_purchases_payouts_and_trading_accounts() {
    let shop = shop().await;
    let unopened = shop.world.challenge(shop.firm, &shop.trader, "two-step").await;
    let mut shard = Owner::take(&shop.world, 0).await;
    shard.quote("EURUSD", 110_000, 110_002);
    let account = shard.open(&unopened).await;
    shard.act(account, market("EURUSD", Side::Buy, 5)).unwrap();
    shard.quote("EURUSD", 110_300, 110_302);
    let _proof = shard.commit().await.unwrap();
    let sold = shop.sold("sold", ProviderName::Stripe).await;
    let run = shop.compared(Subject::Own).await;
    assert_eq!((shop.open().await, run.counts.compared > 0), (vec![], true));

    let mut owner = shop.world.database.superuser().await;
    // By whoever owns the database.
    let tamper = [
        "set session_replication_role = replica".to_owned(),
        "update accounts set balance_micros = balance_micros + 7".to_owned(),
        "update fills set profit_micros = profit_micros + 3 where number = (select min(number) from fills)"
            .to_owned(),
        format!(
            "update purchase_events set amount_minor = amount_minor + 1 where purchase_id = '{}' and what = 'captured'",
            sold.purchase.id
        ),
    ];
    for sql in &tamper {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).execute(&mut owner).await.unwrap();
    }
    let at = shop.world.clock.now();
    let event = |id: &str, cause: String| Event { id: EntryId::derived(&[id.as_bytes()]), cause, at };
    let invented = posting::overpaid(
        event("invented", format!("purchase:{}", sold.purchase.id)),
        &in_ledger(ProviderName::Stripe),
        usd("1"),
    )
    .unwrap();
    let from = PaidFrom::Provider(in_ledger(ProviderName::Stripe));
    let unsent = posting::payout_settled(
        event("unsent", "payout:ghost".to_owned()),
        &in_ledger(ProviderName::Stripe),
        &from,
        usd("9"),
        None,
    )
    .unwrap();
    shop.world.store.post(shop.firm, &[invented, unsent], at).await.unwrap();
    shop.compared(Subject::Own).await;
    let expected = [
        ("payout".to_owned(), Kind::Amount),
        ("purchase".to_owned(), Kind::WithoutEntry),
        ("purchase".to_owned(), Kind::WithoutEvent),
        ("trading".to_owned(), Kind::Balance),
        ("trading".to_owned(), Kind::Fills),
    ];
    assert_eq!(shop.open().await, expected);
    // Days later the same is found, although nothing of it is new.
    shop.later(5 * 86_400);
    shop.compared(Subject::Own).await;
    assert_eq!(shop.open().await, expected);
    let found = shop.differences(DifferenceState::Open).await;
    let balance = found.iter().find(|it| it.found.difference.kind == Kind::Balance).unwrap();
    let text =
        |count: Option<i64>| balance.found.unit.text(count.unwrap(), balance.found.difference.currency);
    assert_ne!(text(balance.found.ours), text(balance.found.theirs));

    for sql in tamper.iter().skip(1) {
        let back = sql.replace(" + ", " - ");
        sqlx::raw_sql(sqlx::AssertSqlSafe(back)).execute(&mut owner).await.unwrap();
    }
    shop.compared(Subject::Own).await;
    assert_eq!(shop.open().await.len(), 2, "what was posted stays");
    assert_eq!(shop.differences(DifferenceState::Vanished).await.len(), 3);

    // Payouts that say otherwise of themselves.
    let says = |payout: &str, settled: &str| PaidOut { payout: payout.to_owned(), settled: usd(settled) };
    let hook = Arc::new(SaysOfItself(vec![says("ghost", "9"), says("told", "0"), says("unknown", "12")]));
    let books = Reconciliation::new(
        shop.world.store.clone(),
        shop.providers.clone(),
        shop.world.clock.clone(),
        shop.world.rng.clone(),
    )
    .with_payouts(hook);
    books.run(&shop.world.context(shop.firm), Subject::Own).await.unwrap();
    let found = shop.differences(DifferenceState::Open).await;
    let of_payouts: Vec<_> = found.iter().filter(|it| it.found.difference.family == "paid_out").collect();
    assert_eq!(of_payouts.len(), 1);
    assert_eq!((of_payouts[0].found.ours, of_payouts[0].found.theirs), (None, Some(1_200)));
}

/// Sums of a column by currency.
fn column(rows: &[Row], report: Report, name: &str) -> i64 {
    let place = report.columns().iter().position(|column| *column == name).unwrap();
    rows.iter().map(|row| row.amounts[place]).sum()
}

#[tokio::test]
async fn reports_sum_up_to_the_ledgers_balances_however_they_are_told_apart() {
    let shop = shop().await;
    a_busy_week(&shop).await;
    shop.later(86_400);
    let sold = shop.sold("later", ProviderName::Paypal).await;
    let refund = shop.refund(&sold, "later-refund", usd("7.77")).await;
    shop.happens(sold.purchase.id, refund).await;
    let balances = shop.balances().await;
    let net = |account: &str| balances.get(account).copied().unwrap_or_default();
    let like = |prefix: &str| -> i64 {
        balances.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, net)| net).sum()
    };
    let days = Days::new(day_of("2026-01-01").unwrap(), day_of("2026-01-31").unwrap()).unwrap();
    let store = &shop.world.store;
    let mut tables = BTreeMap::new();
    for by in ["", "day", "program", "provider", "day,program,provider"] {
        let read = async |report| store.report(shop.firm, report, days, only(by)).await.unwrap();
        let revenue = read(Report::Revenue).await;
        let of = |name| column(&revenue, Report::Revenue, name);
        assert_eq!(of("gross"), -net("fee_income"), "{by}");
        assert_eq!((of("discounts"), of("tax")), (net("discounts"), -net("tax_payable")), "{by}");
        assert_eq!(of("refunds"), net("refunds"), "{by}");
        assert_eq!(of("net"), -net("fee_income") - net("discounts") - net("refunds"), "{by}");
        let refunds = read(Report::Refunds).await;
        assert_eq!(column(&refunds, Report::Refunds, "refunds"), net("refunds"), "{by}");
        let disputes = read(Report::Disputes).await;
        let of = |name| column(&disputes, Report::Disputes, name);
        assert_eq!((of("open"), of("lost")), (like("disputes:"), net("dispute_losses")), "{by}");
        assert_eq!((of("opened"), of("fees")), (4 * 49_000, 2 * 1_500), "{by}");
        assert_eq!(disputes.iter().map(|row| row.count).sum::<i64>(), 4, "{by}");
        let liability = read(Report::Liability).await;
        if !by.contains("day") {
            let of = |name| column(&liability, Report::Liability, name);
            assert_eq!(of("payable"), -like("trader_payable"), "{by}");
            assert_eq!(
                (of("held"), of("clearing")),
                (-like("trader_held"), -like("payout_clearing")),
                "{by}"
            );
        }
        tables.insert(by, revenue);
    }
    // A day after the other is all days.
    let mut by_hand = Vec::new();
    for day in days.first..=days.last {
        let one = Days::new(day, day).unwrap();
        by_hand.extend(
            store.report(shop.firm, Report::Revenue, one, only("day,program,provider")).await.unwrap(),
        );
    }
    assert_eq!(by_hand, tables["day,program,provider"]);
    assert_eq!(tables["program"].len(), 1);
    assert_eq!(tables["program"][0].program.as_deref(), Some("two-step"));
    let providers: Vec<_> = tables["provider"].iter().map(|row| row.provider.as_deref()).collect();
    assert_eq!(providers, [Some("paypal"), Some("stripe")]);

    // As a table, read back.
    let finance = Arc::new(Finance::new(shop.world.store.clone()));
    assert!(finance.table(&shop.buyer, Report::Revenue, days, only("day")).is_err());
    let mut table = finance.table(&shop.admin, Report::Revenue, days, only("day,program,provider")).unwrap();
    let mut text = String::new();
    while let Some(part) = table.next().await.unwrap() {
        text.push_str(&part);
    }
    let mut lines = text.split_terminator("\r\n");
    assert_eq!(lines.next(), Some("day,program,provider,currency,count,gross,discounts,tax,refunds,net"));
    let gross: i64 = lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            assert_eq!(cells.len(), 10, "{line}");
            Money::parse(cells[5], usd("0").currency()).unwrap().minor()
        })
        .sum();
    assert_eq!(gross, -net("fee_income"));
    assert!(!text.contains("\n\n") && text.ends_with("\r\n"));
}
