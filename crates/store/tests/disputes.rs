//! Money given back and money that is asked back, with a real database and providers that lose, repeat and reorder what is said.
#![expect(clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::common::{Owner, usd};
use crate::connected::{Connected, connected};
use app::catalogue::{Coupon, Off, ShelfChange, Tax};
use app::disputes::{AnswerState, Disputes, HoldStore as _, Level, Month, Stage, Thresholds, word};
use app::ledger::{AsOf, LedgerStore as _, Provider};
use app::payments::port::{self, NewCheckout, Provider as _, ProviderName, Reference};
use app::purchases::{Order, Purchase, PurchaseEvent, PurchaseState, PurchaseStore as _};
use app::refunds::{Ask, Origin, Refund, RefundState, Refunds};
use app::{AppError, Context};
use engine::{Act, Key};
use futures_util::future::join_all;
use kernel::{Clock as _, FirmId, Percent, PurchaseId, Span};
use providers::payments::paypal::Paypal;
use providers::payments::stripe::Stripe;
use testkit::payments::Fault;
use testkit::payments::paypal::FakePaypal;
use testkit::payments::stripe::FakeStripe;
use testkit::{World, program};

struct Till {
    world: World,
    firm: FirmId,
    admin: Context,
    buyer: Context,
    version: String,
    fake: FakeStripe,
    stripe: Arc<Stripe>,
    paypal_fake: FakePaypal,
    paypal: Arc<Paypal>,
    refunds: Refunds,
    disputes: Disputes,
}

async fn till() -> Till {
    let world = World::new().await;
    let firm = world.firm("one").await;
    world.publish(firm, "two-step", program("Two steps")).await;
    let admin = world.context_of(firm, &world.admin(firm, "admin").await);
    // 78.24 of 490.00 are tax: two refunds of 163.00 have a cent less of it than each has alone.
    let tax = Tax { rate: Percent::from_whole(19), inclusive: true };
    let change = ShelfChange::Tax(None, Some(tax));
    world.catalogue.change_shelf(&admin, change).await.unwrap();
    let buyer = world.context_of(firm, &world.person(firm, "trader@one.example").await);
    let version = world.catalogue.get(firm, "two-step").await.unwrap().version.to_string();
    let Connected { stripe: fake, paypal: paypal_fake, to_stripe: stripe, to_paypal: paypal, providers } =
        connected(&world, firm).await;
    let clock = world.clock.clone();
    let refunds = Refunds::new(world.store.clone(), providers.clone(), clock.clone(), world.rng.clone());
    let thresholds = Thresholds { least_payments: 4, warn: 250_000, alert: 500_000 };
    let disputes =
        Disputes::new(world.store.clone(), world.store.clone(), providers, thresholds, clock.clone());
    Till { world, firm, admin, buyer, version, fake, stripe, paypal_fake, paypal, refunds, disputes }
}

fn named(name: ProviderName) -> Provider {
    name.in_ledger().unwrap()
}

fn code<T: std::fmt::Debug>(told: Result<T, AppError>) -> &'static str {
    match told {
        Err(AppError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

impl Till {
    fn nobody(&self) -> Context {
        self.world.context(self.firm)
    }

    async fn happens(&self, purchase: PurchaseId, event: PurchaseEvent) -> Result<Purchase, AppError> {
        let at = self.world.clock.now();
        self.world.purchases.happened(&self.nobody(), purchase, &event, at).await
    }

    async fn buy(&self, key: &str) -> Purchase {
        let order = Order { slug: "two-step".to_owned(), version: self.version.clone(), ..Order::default() };
        self.world.purchases.buy(&self.buyer, &Key::parse(key).unwrap(), order).await.unwrap()
    }

    /// Money at Stripe for a purchase that does not know of it yet.
    async fn money(&self, attempt: &str, purchase: &Purchase) -> String {
        let page = self.stripe.open_checkout(&checkout(attempt, purchase)).await.unwrap();
        self.fake.pay(&page.id)
    }

    async fn captured(&self, purchase: &Purchase, name: ProviderName, payment: &str) {
        let (provider, payment, amount) = (named(name), payment.to_owned(), purchase.fee);
        self.happens(purchase.id, PurchaseEvent::Captured { provider, payment, amount }).await.unwrap();
    }

    /// A purchase of 490 dollars that is paid at Stripe, and the payment.
    async fn paid(&self, key: &str) -> (Purchase, String) {
        let purchase = self.buy(key).await;
        let payment = self.money(key, &purchase).await;
        self.captured(&purchase, ProviderName::Stripe, &payment).await;
        (purchase, payment)
    }

    /// The same at PayPal.
    async fn paid_at_paypal(&self, key: &str) -> (Purchase, String) {
        let purchase = self.buy(key).await;
        let order = self.paypal.open_checkout(&checkout(key, &purchase)).await.unwrap();
        self.paypal_fake.approve(&order.id);
        let order = self.paypal.capture(&order.id, &reference(&format!("{key}-capture"))).await.unwrap();
        let payment = order.payment.unwrap().id;
        self.captured(&purchase, ProviderName::Paypal, &payment).await;
        (purchase, payment)
    }

    async fn ask(&self, key: &str, purchase: &Purchase, amount: Option<&str>) -> Result<Refund, AppError> {
        let ask = Ask {
            purchase: purchase.id,
            amount: amount.map(usd),
            payment: None,
            reason: "They asked for it.".to_owned(),
        };
        self.refunds.ask(&self.admin, &Key::parse(key).unwrap(), &ask).await
    }

    async fn state(&self, purchase: &Purchase) -> PurchaseState {
        self.world.store.purchase(self.firm, purchase.id).await.unwrap().unwrap().state
    }

    async fn stripe_tells(&self, refund: &str) -> Result<(), AppError> {
        let told = self.stripe.refund_state(refund).await.unwrap();
        self.refunds.told(&self.nobody(), ProviderName::Stripe, &told).await
    }

    async fn dispute_tells(&self, dispute: &str) -> Result<(), AppError> {
        let told = self.stripe.dispute(dispute).await.unwrap();
        self.disputes.told(&self.nobody(), ProviderName::Stripe, &told).await
    }

    /// The janitor until nothing is left to do for it.
    async fn clean_up(&self) {
        for _ in 0..20 {
            let refunds = self.refunds.janitor(&self.nobody()).await.unwrap();
            let disputes = self.disputes.janitor(&self.nobody()).await.unwrap();
            if refunds + disputes == 0 {
                return;
            }
        }
        panic!("there is always something left to do");
    }

    fn wait(&self, seconds: i32) {
        self.world.clock.advance(Span::from_seconds(seconds));
    }

    /// Debits minus credits, in cents.
    async fn books(&self) -> BTreeMap<String, i64> {
        let books = self.world.store.books(self.firm, AsOf::default()).await.unwrap();
        assert!(books.balanced().unwrap());
        assert_eq!(self.world.store.money_faults(self.firm).await.unwrap(), []);
        let net = |it: &app::ledger::Balance| (it.account.to_string(), it.debits - it.credits);
        books.balances.iter().map(net).filter(|(_, net)| *net != 0).collect()
    }

    /// What the books say that Stripe holds is what Stripe says, but for its fees on payments, which somebody else posts.
    async fn end(self) -> BTreeMap<String, i64> {
        let books = self.books().await;
        let lines = self.fake.all("balance_transaction");
        let charges = lines.iter().filter(|line| line["type"] == "charge");
        let fees: i64 = charges.map(|line| line["fee"].as_i64().unwrap()).sum();
        let clearing = books.get("provider_clearing:stripe").copied().unwrap_or_default();
        assert_eq!(clearing, self.fake.balance("usd") + fees, "{books:?}");
        let now = self.world.clock.now();
        let from = now.before(Span::from_days(20).unwrap()).unwrap();
        let to = now.after(Span::from_seconds(60)).unwrap();
        let entries = self.paypal.entries(from, to, None).await.unwrap();
        let gross: i64 = entries.items.iter().map(|entry| entry.gross.minor()).sum();
        assert_eq!(books.get("provider_clearing:paypal").copied().unwrap_or_default(), gross, "{books:?}");
        assert_eq!(self.fake.wrong(), [""; 0]);
        assert_eq!(self.paypal_fake.wrong(), [""; 0]);
        assert_eq!((self.fake.faults_waiting(), self.paypal_fake.faults_waiting()), (0, 0));
        books
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.world.database.superuser().await).await.unwrap()
    }
}

fn checkout(attempt: &str, purchase: &Purchase) -> NewCheckout {
    NewCheckout {
        attempt: reference(attempt),
        purchase: reference(&purchase.id.to_string()),
        price: purchase.fee,
        title: purchase.program_name.clone(),
        email: None,
        success_url: "https://one.example/done".to_owned(),
        cancel_url: "https://one.example/back".to_owned(),
        expires_at: None,
    }
}

#[tokio::test]
async fn three_parts_are_the_whole_with_its_tax_whatever_fails_in_between() {
    let till = till().await;
    let (purchase, _) = till.paid("one").await;
    assert_eq!((purchase.fee, purchase.tax), (usd("490"), usd("78.24")));
    for (key, amount) in [("a", "163"), ("b", "163")] {
        let refund = till.ask(key, &purchase, Some(amount)).await.unwrap();
        assert_eq!((refund.state, refund.origin), (RefundState::Done, Origin::Asked));
    }
    // A retry is the same refund; the key with another amount is none.
    let again = till.ask("b", &purchase, Some("163")).await.unwrap();
    let all = till.refunds.of(&till.admin, &purchase).await.unwrap();
    assert!(all.len() == 2 && all.contains(&again), "{all:?}");
    assert_eq!(code(till.ask("b", &purchase, Some("1")).await), "idempotency_key_reused");
    assert_eq!(
        code(till.ask("b", &purchase, None).await),
        "idempotency_key_reused",
        "all is not a certain amount"
    );
    assert_eq!(till.books().await["tax_payable"], -7_824 + 5_205);
    assert_eq!(till.state(&purchase).await, PurchaseState::Captured);

    // The bank sends the first one back: what is left of the tax fits what is left of the refunds.
    let first = till.fake.all("refund")[0]["id"].as_str().unwrap().to_owned();
    till.fake.finish_refund(&first, false);
    for _ in 0..3 {
        till.stripe_tells(&first).await.unwrap();
    }
    assert_eq!(till.books().await["tax_payable"], -7_824 + 2_603);
    assert_eq!(code(till.ask("c", &purchase, Some("327.01")).await), "refund_exceeds_payment");
    let rest = till.ask("c", &purchase, None).await.unwrap();
    assert_eq!((rest.amount, rest.state), (usd("327"), RefundState::Done));
    assert_eq!(till.state(&purchase).await, PurchaseState::Refunded);
    assert_eq!(code(till.ask("d", &purchase, None).await), "refund_exceeds_payment");
    let books = till.end().await;
    assert!(!books.contains_key("tax_payable"), "{books:?}");
    assert_eq!(books["refunds"], 49_000 - 7_824);
}

#[tokio::test]
async fn a_refund_that_is_lost_on_the_way_is_asked_for_again_and_made_once() {
    let till = till().await;
    let faults = [Fault::LoseRequest, Fault::LoseAnswer, Fault::FailAfter(500), Fault::Garble, Fault::AtWork];
    for (number, fault) in faults.into_iter().enumerate() {
        let (purchase, _) = till.paid(&format!("p{number}")).await;
        // Also when asked again.
        for _ in 0..4 {
            till.fake.meets("POST /v1/refunds", fault.clone());
        }
        let refund = till.ask(&format!("k{number}"), &purchase, None).await.unwrap();
        assert_eq!(refund.state, RefundState::Asked, "{fault:?}");
        assert!(refund.said.is_some() && refund.next_at > Some(till.world.clock.now()));
        // Nobody may ask for it a second time meanwhile.
        assert_eq!(code(till.ask("more", &purchase, Some("1")).await), "refund_exceeds_payment");
        for _ in 0..5 {
            till.wait(3_601);
            till.refunds.janitor(&till.nobody()).await.unwrap();
        }
        let known = till.refunds.get(&till.admin, refund.id).await.unwrap();
        assert_eq!(
            (known.state, known.first_asked_at),
            (RefundState::Done, refund.first_asked_at),
            "{fault:?}"
        );
        assert_eq!(till.state(&purchase).await, PurchaseState::Refunded);
        assert_eq!(till.fake.all("refund").len(), number + 1, "{fault:?}");
    }
    // Its key is forgotten and its answer was lost: it is found by our name of it.
    let (purchase, _) = till.paid("late").await;
    for _ in 0..3 {
        till.fake.meets("POST /v1/refunds", Fault::LoseAnswer);
    }
    assert_eq!(till.ask("late", &purchase, Some("490")).await.unwrap().state, RefundState::Asked);
    let made = till.fake.all("refund").len();
    till.fake.forget_keys();
    till.wait(86_400);
    till.clean_up().await;
    assert_eq!(till.fake.all("refund").len(), made);
    assert_eq!(till.state(&purchase).await, PurchaseState::Refunded);
}

#[tokio::test]
async fn what_the_provider_turns_away_frees_its_amount_and_posts_nothing() {
    let till = till().await;
    let (purchase, payment) = till.paid("one").await;
    // Somebody gave all of it back at Stripe's screen, and we have not heard of it.
    let by_hand = till.fake.refund_by_hand(&payment, 49_000);
    let refund = till.ask("k", &purchase, Some("100")).await.unwrap();
    assert_eq!((refund.state, refund.next_at), (RefundState::Failed, None));
    assert!(refund.said.unwrap().contains("charge_already_refunded"));
    assert_eq!(till.books().await.get("refunds"), None);
    let told = join_all((0..20).map(|_| till.stripe_tells(&by_hand))).await;
    assert!(told.into_iter().all(|told| told.is_ok()));
    let rows = till.refunds.of(&till.buyer, &purchase).await.unwrap();
    assert_eq!(rows.len(), 2);
    let hand = rows.iter().find(|row| row.origin == Origin::AtProvider).unwrap();
    assert_eq!(
        (hand.state, hand.amount, hand.known_as.as_deref()),
        (RefundState::Done, usd("490"), Some(by_hand.as_str()))
    );
    assert_eq!(till.state(&purchase).await, PurchaseState::Refunded);
    assert_eq!(till.count("select count(*) from outbox where topic = 'purchase.refunded'").await, 1);
    // Who may not.
    let ask = Ask { purchase: purchase.id, amount: None, payment: None, reason: "Please.".to_owned() };
    let mine = till.refunds.ask(&till.buyer, &Key::parse("x").unwrap(), &ask).await;
    assert!(matches!(mine, Err(AppError::Forbidden)));
    till.end().await;
}

#[tokio::test]
async fn a_refund_by_hand_waits_for_its_payment_and_one_that_is_gone_again_moves_nothing() {
    let till = till().await;
    let purchase = till.buy("one").await;
    let payment = till.money("one", &purchase).await;
    let first = till.fake.refund_by_hand(&payment, 49_000);
    assert_eq!(code(till.stripe_tells(&first).await), "conflict");
    till.captured(&purchase, ProviderName::Stripe, &payment).await;
    // It comes back before we hear of it, and another one is made and heard of first.
    till.fake.finish_refund(&first, false);
    let second = till.fake.refund_by_hand(&payment, 49_000);
    till.stripe_tells(&second).await.unwrap();
    till.stripe_tells(&first).await.unwrap();
    till.stripe_tells(&second).await.unwrap();
    assert_eq!(till.state(&purchase).await, PurchaseState::Refunded);
    let states: Vec<_> =
        till.refunds.of(&till.admin, &purchase).await.unwrap().iter().map(|row| row.state).collect();
    assert!(states.contains(&RefundState::Failed) && states.contains(&RefundState::Done), "{states:?}");
    till.end().await;
}

#[tokio::test]
async fn a_hundred_refunds_at_once_are_never_more_than_the_payment() {
    let till = till().await;
    let (purchase, _) = till.paid("one").await;
    let told = join_all((0..100).map(|number| {
        let (till, purchase) = (&till, &purchase);
        // Every key twice.
        async move { till.ask(&format!("k{}", number / 2), purchase, Some("60")).await }
    }))
    .await;
    let mut made = std::collections::BTreeSet::new();
    for told in told {
        match told {
            Ok(refund) => {
                made.insert(refund.id);
            }
            told => assert_eq!(code(told), "refund_exceeds_payment"),
        }
    }
    assert_eq!(made.len(), 8);
    till.wait(3_600);
    till.clean_up().await;
    assert_eq!(till.fake.all("refund").len(), 8);
    let rest = till.ask("rest", &purchase, None).await.unwrap();
    assert_eq!((rest.amount, rest.state), (usd("10"), RefundState::Done));
    assert_eq!(till.state(&purchase).await, PurchaseState::Refunded);
    assert_eq!(till.end().await.get("provider_clearing:stripe"), None);
}

#[tokio::test]
async fn what_is_paid_twice_goes_back_without_anybody_asking() {
    let till = till().await;
    let (purchase, _) = till.paid("one").await;
    let second = till.money("again", &purchase).await;
    till.captured(&purchase, ProviderName::Stripe, &second).await;
    assert_eq!(till.books().await["overpaid"], -49_000);
    // Two janitors at once, and a provider that loses an answer.
    till.fake.meets("POST /v1/refunds", Fault::LoseAnswer);
    let (one, other) = (till.nobody(), till.nobody());
    let (one, other) = tokio::join!(till.refunds.janitor(&one), till.refunds.janitor(&other));
    one.unwrap();
    other.unwrap();
    till.wait(3_600);
    till.clean_up().await;
    assert_eq!(till.refunds.janitor(&till.nobody()).await.unwrap(), 0);
    assert_eq!(till.fake.all("refund").len(), 1);
    assert_eq!(till.state(&purchase).await, PurchaseState::Captured);
    let rows = till.refunds.of(&till.admin, &purchase).await.unwrap();
    assert_eq!((rows.len(), rows[0].origin, &rows[0].payment), (1, Origin::Overpaid, &second));
    assert_eq!(till.end().await.get("overpaid"), None);
}

#[tokio::test]
async fn the_sandbox_gives_back_at_once_and_paypal_when_it_has() {
    let till = till().await;
    let played = till.buy("sandbox").await;
    till.world.purchases.capture(&till.nobody(), played.id).await.unwrap();
    let refund = till.ask("s", &played, None).await.unwrap();
    assert_eq!((refund.state, till.state(&played).await), (RefundState::Done, PurchaseState::Refunded));

    let (purchase, _) = till.paid_at_paypal("one").await;
    till.paypal_fake.refunds_pend();
    till.paypal_fake.meets("POST /v2/payments/captures", Fault::LoseAnswer);
    let pending = till.ask("p", &purchase, Some("200")).await.unwrap();
    assert_eq!(pending.state, RefundState::Pending);
    till.wait(61);
    till.clean_up().await;
    // It arrives, and the janitor is who learns of it.
    till.paypal_fake.finish_refund(pending.known_as.as_deref().unwrap(), true);
    till.wait(3_601);
    till.clean_up().await;
    assert_eq!(till.refunds.get(&till.admin, pending.id).await.unwrap().state, RefundState::Done);
    // The next one does not.
    let fails = till.ask("q", &purchase, Some("100")).await.unwrap();
    till.paypal_fake.finish_refund(fails.known_as.as_deref().unwrap(), false);
    till.wait(3_601);
    till.clean_up().await;
    assert_eq!(till.refunds.get(&till.admin, fails.id).await.unwrap().state, RefundState::Failed);
    assert_eq!(till.books().await["refunds"], (49_000 - 7_824) + (20_000 - 3_193));
    assert_eq!(till.paypal_fake.counts()[2], 2);
    let sandbox = till.end().await;
    assert_eq!(sandbox.get("provider_clearing:sandbox"), None);
}

/// How a dispute may go: a question or not, and how it ends.
#[tokio::test]
async fn disputes_end_alike_in_every_order_and_however_often_they_are_told() {
    let till = till().await;
    let mut told_of = Vec::new();
    for (number, (inquiry, won)) in
        [(false, true), (false, false), (true, true), (false, true), (false, false)].into_iter().enumerate()
    {
        let (purchase, payment) = till.paid(&format!("p{number}")).await;
        let dispute = till.fake.dispute(&payment, inquiry);
        let before = till.stripe.dispute(&dispute).await.unwrap();
        if number >= 3 {
            // Heard of while it is open.
            till.dispute_tells(&dispute).await.unwrap();
            assert_eq!(till.state(&purchase).await, PurchaseState::Disputed);
            assert_eq!(code(till.ask("no", &purchase, None).await), "purchase_disputed");
        }
        till.fake.decide(&dispute, won);
        let after = till.stripe.dispute(&dispute).await.unwrap();
        told_of.push((purchase, before, after, won, inquiry));
    }
    for (_, before, after, ..) in &told_of {
        // The end first, then what was before it, many at once.
        let told = join_all((0..30).map(|number| {
            let said = if number % 3 == 0 { after } else { before };
            let (till, nobody) = (&till, till.nobody());
            async move { till.disputes.told(&nobody, ProviderName::Stripe, said).await }
        }))
        .await;
        assert!(told.into_iter().all(|told| told.is_ok()));
        till.disputes.told(&till.nobody(), ProviderName::Stripe, before).await.unwrap();
    }
    for (purchase, before, _, won, inquiry) in &told_of {
        let state = if *won || *inquiry { PurchaseState::Captured } else { PurchaseState::ChargedBack };
        assert_eq!(till.state(purchase).await, state, "won {won}, inquiry {inquiry}");
        let rows = till.disputes.list(&till.admin, None, None, 100).await.unwrap();
        let row = rows.iter().find(|row| row.known_as == before.id).unwrap();
        // A lost one goes on holding payouts until somebody lets go.
        assert_eq!(row.held_since.is_some(), !won && !inquiry, "{}", word(row.stand.state));
        assert_eq!(row.next_at.is_none(), row.stand.stage().is_over());
    }
    assert_eq!(till.count("select count(*) from outbox where topic = 'purchase.disputed'").await, 4);
    assert_eq!(till.count("select count(*) from outbox where topic = 'dispute.opened'").await, 5);
    let lost = till.disputes.list(&till.admin, Some(port::DisputeState::Lost), None, 100).await.unwrap();
    assert_eq!(lost.len(), 2);
    let free = till.disputes.release(&till.admin, lost[0].id, "They are sorry.").await.unwrap();
    assert_eq!(free.held_since, None);
    let held = "select count(*) from payout_blocks";
    assert_eq!(till.count(held).await, 1);
    let books = till.end().await;
    assert_eq!(books["dispute_losses"], 98_000);
    assert_eq!(books["provider_fees:stripe"], 4 * 1_500);
    assert_eq!(books.get("disputes:stripe"), None);
}

#[tokio::test]
async fn a_question_becomes_a_dispute_and_paypal_takes_the_money_when_it_decides() {
    let till = till().await;
    let (purchase, payment) = till.paid_at_paypal("one").await;
    let dispute = till.paypal_fake.dispute(&payment, true);
    let say = || async {
        let told = till.paypal.dispute(&dispute).await.unwrap();
        till.disputes.told(&till.nobody(), ProviderName::Paypal, &told).await.unwrap();
    };
    say().await;
    assert_eq!(till.state(&purchase).await, PurchaseState::Captured);
    let row = till.disputes.list(&till.admin, None, None, 1).await.unwrap().remove(0);
    assert_eq!((row.stand.stage(), row.held_since.is_some()), (Stage::Asked, true));
    till.paypal_fake.decide(&dispute, "RESOLVED_BUYER_FAVOUR");
    say().await;
    say().await;
    assert_eq!(till.state(&purchase).await, PurchaseState::ChargedBack);

    // At Stripe the same question grows.
    let (asked, payment) = till.paid("two").await;
    let question = till.fake.dispute(&payment, true);
    till.dispute_tells(&question).await.unwrap();
    assert_eq!(till.state(&asked).await, PurchaseState::Captured);
    let grown = port::Dispute {
        inquiry: false,
        fee: Some(usd("15")),
        ..till.stripe.dispute(&question).await.unwrap()
    };
    let stale = till.stripe.dispute(&question).await.unwrap();
    for told in [&grown, &stale, &grown] {
        till.disputes.told(&till.nobody(), ProviderName::Stripe, told).await.unwrap();
    }
    assert_eq!(till.state(&asked).await, PurchaseState::Disputed);
    assert_eq!(till.books().await["disputes:stripe"], 49_000);
    let won = port::Dispute { state: port::DisputeState::Won, ..grown.clone() };
    till.disputes.told(&till.nobody(), ProviderName::Stripe, &won).await.unwrap();
    let lost = port::Dispute { state: port::DisputeState::Lost, ..grown };
    assert_eq!(code(till.disputes.told(&till.nobody(), ProviderName::Stripe, &lost).await), "conflict");
    assert_eq!(till.state(&asked).await, PurchaseState::Captured);
    // A payment that nobody knows yet.
    let unknown = port::Dispute { id: "dp_new".to_owned(), payment: Some("pi_new".to_owned()), ..won };
    assert_eq!(code(till.disputes.told(&till.nobody(), ProviderName::Stripe, &unknown).await), "conflict");
    assert_eq!(till.books().await["dispute_losses"], 49_000);
}

#[tokio::test]
async fn what_came_for_a_purchase_that_had_ended_may_be_disputed_and_go_back_twice() {
    let till = till().await;
    let coupon = Coupon {
        code: "TEN".to_owned(),
        off: Off::Percent(Percent::from_whole(10)),
        slugs: std::collections::BTreeSet::new(),
        starts_at: None,
        ends_at: None,
        most_uses: None,
        most_per_person: None,
        only: None,
        stackable: true,
        least: None,
        disabled: false,
    };
    till.world.catalogue.change_shelf(&till.admin, ShelfChange::Coupon(coupon)).await.unwrap();
    let late = async |key: &str| {
        let order = Order {
            slug: "two-step".to_owned(),
            version: till.version.clone(),
            coupons: vec!["TEN".to_owned()],
            ..Order::default()
        };
        let bought = till.world.purchases.buy(&till.buyer, &Key::parse(key).unwrap(), order).await.unwrap();
        let payment = till.money(key, &bought).await;
        till.happens(bought.id, PurchaseEvent::Cancelled).await.unwrap();
        till.captured(&bought, ProviderName::Stripe, &payment).await;
        assert_eq!(till.state(&bought).await, PurchaseState::Cancelled);
        (bought, payment)
    };
    for (key, won) in [("one", true), ("two", false)] {
        let (bought, payment) = late(key).await;
        let dispute = till.fake.dispute(&payment, false);
        till.dispute_tells(&dispute).await.unwrap();
        assert_eq!(till.books().await["disputes:stripe"], 44_100);
        till.fake.decide(&dispute, won);
        till.dispute_tells(&dispute).await.unwrap();
        assert_eq!(till.state(&bought).await, PurchaseState::Cancelled);
    }
    let books = till.books().await;
    assert_eq!((books["dispute_losses"], books.get("disputes:stripe")), (44_100, None));
    // What went back by itself comes back, and goes back again.
    let (bought, _) = late("three").await;
    till.refunds.janitor(&till.nobody()).await.unwrap();
    let of = |rows: &[Refund]| rows.last().and_then(|row| row.known_as.clone()).unwrap();
    let rows = till.refunds.of(&till.admin, &bought).await.unwrap();
    till.fake.finish_refund(&of(&rows), false);
    till.stripe_tells(&of(&rows)).await.unwrap();
    till.wait(3_600);
    till.refunds.janitor(&till.nobody()).await.unwrap();
    let rows = till.refunds.of(&till.admin, &bought).await.unwrap();
    let states: Vec<_> = rows.iter().map(|row| row.state).collect();
    assert_eq!(states, [RefundState::Failed, RefundState::Done]);
}

#[tokio::test]
async fn a_dispute_that_cannot_be_followed_holds_up_no_other_one() {
    let till = till().await;
    let (broken, payment) = till.paid_at_paypal("broken").await;
    let question = till.paypal_fake.dispute(&payment, true);
    let told = till.paypal.dispute(&question).await.unwrap();
    till.disputes.told(&till.nobody(), ProviderName::Paypal, &told).await.unwrap();
    let (sound, payment) = till.paid("sound").await;
    let dispute = till.fake.dispute(&payment, false);
    till.dispute_tells(&dispute).await.unwrap();
    // By whoever owns the database: such a purchase cannot be disputed.
    let mut owner = till.world.database.superuser().await;
    sqlx::query("update purchases set state = 'created', decided_at = null where id = $1")
        .bind(broken.id.uuid())
        .execute(&mut owner)
        .await
        .unwrap();
    till.paypal_fake.decide(&question, "RESOLVED_BUYER_FAVOUR");
    till.fake.decide(&dispute, true);
    till.wait(6 * 3_600);
    assert_eq!(till.disputes.janitor(&till.nobody()).await.unwrap(), 2);
    assert_eq!(till.state(&sound).await, PurchaseState::Captured);
    assert_eq!(till.disputes.janitor(&till.nobody()).await.unwrap(), 0, "it is looked at later");
    till.wait(600);
    assert_eq!(till.disputes.janitor(&till.nobody()).await.unwrap(), 1);
}

#[tokio::test]
async fn evidence_is_put_together_from_our_records_and_handed_in_once() {
    let till = till().await;
    let (purchase, payment) = till.paid("one").await;
    let password = app::identity::Password::new(testkit::PASSWORD);
    let visitor = till.nobody();
    till.world.identity.sign_in(&visitor, "trader@one.example", password, "::1").await.unwrap();
    let unopened = till.world.purchases.unopened(10).await.unwrap();
    let mut shard = Owner::take(&till.world, 0).await;
    shard.quote("EURUSD", 110_000, 110_002);
    let account = shard.open(&unopened[0]).await;
    shard.buy(account, "EURUSD", 10).unwrap();
    shard.quote("EURUSD", 109_000, 109_002);
    let _proof = shard.commit().await.unwrap();
    till.wait(86_400);
    let dispute = till.fake.dispute(&payment, false);
    till.dispute_tells(&dispute).await.unwrap();
    let id = till.disputes.list(&till.admin, None, None, 1).await.unwrap()[0].id;

    assert!(matches!(till.disputes.preview(&till.buyer, id).await, Err(AppError::Forbidden)));
    let (_, bundle) = till.disputes.preview(&till.admin, id).await.unwrap();
    let (_, again) = till.disputes.preview(&till.admin, id).await.unwrap();
    assert_eq!(bundle, again);
    assert_eq!(bundle.zip().unwrap(), again.zip().unwrap());
    let evidence = &bundle.evidence;
    assert_eq!(evidence.buyer_email.as_deref(), Some("trader@one.example"));
    assert_eq!(evidence.service_date.as_deref(), Some("2026-01-05"));
    let name = account.to_string();
    for part in [name.as_str(), "2 fills", "verdict breach by ", "buyer signed in"] {
        let all = String::from_utf8_lossy(&evidence.documents[2].bytes).into_owned();
        assert!(evidence.activity.contains(part) || all.contains(part), "{part}: {}", evidence.activity);
    }
    assert!(evidence.explanation.contains("The buyer has used it: 2 fills"), "{}", evidence.explanation);
    let document = |place: usize| String::from_utf8_lossy(&evidence.documents[place].bytes).into_owned();
    assert!(document(0).contains(&payment) && document(0).contains("490.00 USD"));
    assert!(document(1).contains(purchase.version.as_str()) && document(1).contains("WHAT WAS AGREED"));
    assert_eq!(till.count("select count(*) from audit_entries where action = 'dispute.preview'").await, 2);

    let long = "x".repeat(1_001);
    assert!(matches!(till.disputes.explain(&till.admin, id, Some(&long)).await, Err(AppError::Invalid(_))));
    till.disputes.explain(&till.admin, id, Some("They traded all day.")).await.unwrap();
    let (_, explained) = till.disputes.preview(&till.admin, id).await.unwrap();
    assert_eq!(explained.evidence.explanation, "They traded all day.");
    assert_ne!(explained.digest, bundle.digest);

    // Ten at once, and the answer is lost: it was handed in once, and pulling tells.
    for _ in 0..3 {
        till.fake.meets(&format!("POST /v1/disputes/{dispute}"), Fault::LoseAnswer);
    }
    let told = join_all((0..10).map(|_| till.disputes.submit(&till.admin, id))).await;
    let taken = told.iter().filter(|told| told.is_ok()).count();
    assert_eq!(taken, 1, "{told:?}");
    let (_, answers) = till.disputes.get(&till.admin, id).await.unwrap();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].digest, Some(explained.digest));
    till.wait(601);
    till.clean_up().await;
    let (row, answers) = till.disputes.get(&till.admin, id).await.unwrap();
    assert_eq!((row.stand.state, answers[0].state), (port::DisputeState::UnderReview, AnswerState::Done));
    assert_eq!(till.fake.thing(&dispute)["evidence"]["uncategorized_text"], "They traded all day.");
    assert_eq!(code(till.disputes.submit(&till.admin, id).await), "dispute_answered");
    assert_eq!(code(till.disputes.concede(&till.admin, id).await), "dispute_answered");
    till.fake.decide(&dispute, true);
    // The janitor pulls what nobody told.
    till.wait(6 * 3_600);
    till.clean_up().await;
    assert_eq!(till.state(&purchase).await, PurchaseState::Captured);
}

#[tokio::test]
async fn an_answer_that_did_not_arrive_is_given_again_and_giving_in_loses() {
    let till = till().await;
    let (purchase, payment) = till.paid("one").await;
    let dispute = till.fake.dispute(&payment, false);
    till.dispute_tells(&dispute).await.unwrap();
    let id = till.disputes.list(&till.admin, None, None, 1).await.unwrap()[0].id;
    for _ in 0..12 {
        till.fake.meets("POST /v1/files", Fault::LoseRequest);
    }
    let (_, answers) = till.disputes.submit(&till.admin, id).await.unwrap();
    assert_ne!(answers[0].state, AnswerState::Done);
    till.wait(601);
    till.clean_up().await;
    let (_, answers) = till.disputes.get(&till.admin, id).await.unwrap();
    assert_eq!(answers[0].state, AnswerState::Failed);
    let (row, answers) = till.disputes.concede(&till.admin, id).await.unwrap();
    assert_eq!((row.stand.stage(), answers[1].state), (Stage::Lost, AnswerState::Done));
    assert_eq!(till.state(&purchase).await, PurchaseState::ChargedBack);
    assert_eq!(till.books().await["dispute_losses"], 49_000);
}

#[tokio::test]
async fn a_rate_that_is_too_high_is_told_once_for_each_month_and_level() {
    let till = till().await;
    let mut payments = Vec::new();
    for number in 0..4 {
        payments.push(till.paid(&format!("p{number}")).await.1);
    }
    let month = Month::of(till.world.clock.now()).unwrap();
    let told = "select count(*) from outbox where topic = 'dispute.rate_high'";
    for (number, payment) in payments.iter().enumerate().take(3) {
        let dispute = till.fake.dispute(payment, false);
        join_all((0..5).map(|_| till.dispute_tells(&dispute))).await;
        let expected = [1, 2, 2][number];
        assert_eq!(till.count(told).await, expected, "after {number}");
    }
    // A question takes no money and does not count.
    let question = till.fake.dispute(&payments[3], true);
    till.dispute_tells(&question).await.unwrap();
    let rates = till.disputes.rates(&till.admin, month).await.unwrap();
    assert_eq!(rates.len(), 1);
    let (rate, level) = &rates[0];
    assert_eq!(
        (rate.disputes, rate.payments, rate.millionths(), *level),
        (3, 4, 750_000, Some(Level::Alert))
    );
    assert_eq!(till.count(told).await, 2);
    let other = Month::parse("2025-12").unwrap();
    assert_eq!(till.disputes.rates(&till.admin, other).await.unwrap(), []);
}

#[tokio::test]
async fn money_of_refunds_and_disputes_that_is_changed_by_hand_is_found() {
    let till = till().await;
    let (purchase, _) = till.paid("one").await;
    till.ask("a", &purchase, Some("100")).await.unwrap();
    let (_, payment) = till.paid("two").await;
    let dispute = till.fake.dispute(&payment, false);
    till.dispute_tells(&dispute).await.unwrap();
    till.books().await;
    let mut owner = till.world.database.superuser().await;
    for (change, back, say) in [
        (
            "update refunds set known_as = 'other'",
            "update refunds set known_as = (select reference from purchase_events where what = 'refunded_in_part')",
            "a refund of which its purchase does not know",
        ),
        (
            "update refunds set amount_minor = 49001",
            "update refunds set amount_minor = 10000",
            "refunds that are more than their payment",
        ),
        (
            "update disputes set known_as = 'other'",
            "update disputes set known_as = (select reference from purchase_events where what = 'dispute_opened')",
            "a dispute of which its purchase does not know",
        ),
    ] {
        sqlx::raw_sql(change).execute(&mut owner).await.unwrap();
        let faults = till.world.store.money_faults(till.firm).await.unwrap();
        assert!(faults.iter().any(|fault| fault.say == say), "{change}: {faults:?}");
        sqlx::raw_sql(back).execute(&mut owner).await.unwrap();
        till.books().await;
    }
}

/// The engine follows the hold on payouts, whichever of account and dispute was there first, and whatever began anew with the money.
#[tokio::test]
async fn accounts_are_to_be_held_as_long_as_their_buyers_payouts_are() {
    let till = till().await;
    let (store, firm) = (&till.world.store, till.firm);
    let misheld = async || store.misheld(firm, 10).await.unwrap();
    let (_, payment) = till.paid("one").await;
    let question = till.fake.dispute(&payment, true);
    till.dispute_tells(&question).await.unwrap();
    assert_eq!(misheld().await, [], "nothing is open yet");
    let unopened = store.unopened(10).await.unwrap().remove(0);
    let mut owner = Owner::take(&till.world, 0).await;
    let account = owner.open(&unopened).await;
    let _proof = owner.commit().await.unwrap();
    assert_eq!(misheld().await, [(account, true)]);
    owner.act(account, Act::Hold { held: true }).unwrap();
    let _proof = owner.commit().await.unwrap();
    assert_eq!(misheld().await, []);

    // The same purchase is asked for once more: the end of the first question ends nothing.
    let second = till.fake.dispute(&payment, true);
    till.dispute_tells(&second).await.unwrap();
    till.fake.decide(&question, true);
    till.dispute_tells(&question).await.unwrap();
    assert_eq!(misheld().await, []);
    let released = "select count(*) from outbox where topic = 'dispute.released'";
    assert_eq!(till.count(released).await, 1);
    till.fake.decide(&second, true);
    till.dispute_tells(&second).await.unwrap();
    till.dispute_tells(&second).await.unwrap();
    assert_eq!(till.count(released).await, 2, "each is told once");
    assert_eq!(misheld().await, [(account, false)]);
    owner.act(account, Act::Hold { held: false }).unwrap();
    let _proof = owner.commit().await.unwrap();
    assert_eq!(misheld().await, []);

    // A lost one holds until somebody lets go.
    let (_, payment) = till.paid("two").await;
    let lost = till.fake.dispute(&payment, false);
    let unopened = store.unopened(10).await.unwrap().remove(0);
    let other = owner.open(&unopened).await;
    let _proof = owner.commit().await.unwrap();
    till.fake.decide(&lost, false);
    till.dispute_tells(&lost).await.unwrap();
    assert_eq!(misheld().await, [(other, true)]);
    let row =
        till.disputes.list(&till.admin, Some(port::DisputeState::Lost), None, 1).await.unwrap().remove(0);
    till.disputes.release(&till.admin, row.id, "They are sorry.").await.unwrap();
    assert_eq!(misheld().await, []);
}
