use std::sync::Arc;
use std::time::Duration;

use app::payments::port::{
    Checkout, CheckoutState, Destination, DisputeState, EntryKind, Failure, Mode, NewPayout, NewRefund,
    PaymentState, PayoutState, Provider as _, RefundState,
};
use kernel::{ManualClock, Money, Span};
use providers::payments::paypal::{Paypal, PaypalSettings};
use providers::payments::{BadSettings, Limits};
use testkit::payments::Fault;
use testkit::payments::paypal::{CLIENT, FakePaypal, SECRET};

use super::{
    BadDay, checkout, clock, evidence, later, limits, money, reference, refusal, start, tools, until_known,
};

struct Setting {
    clock: Arc<ManualClock>,
    fake: FakePaypal,
    paypal: Paypal,
}

fn client(fake: &FakePaypal, clock: &Arc<ManualClock>, secret: &str, limits: Limits) -> Paypal {
    let settings = PaypalSettings {
        mode: Mode::Test,
        client: CLIENT.to_owned(),
        secret: secret.to_owned(),
        address: Some(fake.address()),
    };
    Paypal::new(settings, tools(clock, limits)).unwrap()
}

async fn setting_with(limits: Limits) -> Setting {
    let clock = clock();
    let fake = FakePaypal::open(clock.clone()).await;
    let paypal = client(&fake, &clock, SECRET, limits);
    Setting { clock, fake, paypal }
}

async fn setting() -> Setting {
    setting_with(limits()).await
}

impl Setting {
    /// An order for 100 dollars that is captured.
    async fn paid(&self, purchase: &str) -> Checkout {
        let order = checkout(&format!("{purchase}-1"), purchase, money("100", "USD"));
        let order = self.paypal.open_checkout(&order).await.unwrap();
        self.fake.approve(&order.id);
        self.paypal.capture(&order.id, &reference(&format!("{purchase}-capture"))).await.unwrap()
    }

    async fn captured(&self, purchase: &str) -> String {
        self.paid(purchase).await.payment.unwrap().id
    }

    /// All was asked and answered as it is published, and every fault was met.
    fn end(self) {
        assert_eq!(self.fake.wrong(), [""; 0]);
        assert_eq!(self.fake.faults_waiting(), 0);
    }
}

fn new_refund(name: &str, payment: &str, amount: &str) -> NewRefund {
    NewRefund {
        refund: reference(name),
        payment: payment.to_owned(),
        amount: money(amount, "USD"),
        first_asked_at: start(),
    }
}

fn new_payout(name: &str, attempt: &str, amount: Money) -> NewPayout {
    NewPayout {
        payout: reference(name),
        attempt: reference(attempt),
        amount,
        to: Destination::PaypalEmail("amina@example.com".to_owned()),
        note: "Your share of May".to_owned(),
        first_asked_at: start(),
    }
}

#[tokio::test]
async fn an_order_is_approved_at_paypal_captured_by_us_and_read_back_with_what_it_came_to() {
    let at = setting().await;
    let new = checkout("attempt-1", "purchase-1", money("100", "USD"));
    let order = at.paypal.open_checkout(&new).await.unwrap();
    assert_eq!((order.state, order.price), (CheckoutState::Open, new.price));
    assert!(order.page.as_deref().unwrap().starts_with("https://www.sandbox.paypal.com/checkoutnow"));
    let capture = reference("capture-1");
    assert_eq!(refusal(at.paypal.capture(&order.id, &capture).await), "ORDER_NOT_APPROVED");
    at.fake.approve(&order.id);
    let approved = at.paypal.checkout(&order.id).await.unwrap();
    assert_eq!((approved.state, approved.page.clone()), (CheckoutState::Approved, None));
    let paid = at.paypal.capture(&order.id, &capture).await.unwrap();
    assert_eq!(paid.state, CheckoutState::Paid);
    assert_eq!(at.paypal.capture(&order.id, &capture).await.unwrap(), paid, "the same key, the same answer");
    let other = at.paypal.capture(&order.id, &reference("capture-2")).await.unwrap();
    assert_eq!(other, paid, "another key finds it captured");
    let payment = paid.payment.unwrap();
    assert_eq!((payment.state, payment.amount), (PaymentState::Captured, new.price));
    assert_eq!(payment.purchase.as_deref(), Some("purchase-1"));
    let settlement = payment.settlement.unwrap();
    assert_eq!((settlement.gross, settlement.fee), (new.price, money("3.98", "USD")));
    assert_eq!(settlement.net, money("96.02", "USD"));
    assert_eq!(at.paypal.payment(&payment.id).await.unwrap(), payment);
    assert_eq!(at.fake.counts(), [1, 1, 0, 0]);
    at.end();
}

#[tokio::test]
async fn a_declined_buyer_may_try_again_and_a_voided_order_is_over() {
    let at = setting().await;
    let order = at.paypal.open_checkout(&checkout("a", "p", money("100", "USD"))).await.unwrap();
    at.fake.approve(&order.id);
    at.fake.meets("POST /v2/checkout/orders/", Fault::Decline("INSTRUMENT_DECLINED"));
    let declined = at.paypal.capture(&order.id, &reference("capture-1")).await;
    assert!(
        matches!(&declined, Err(Failure::Declined(said)) if said.code == "INSTRUMENT_DECLINED"),
        "{declined:?}"
    );
    assert_eq!(at.paypal.checkout(&order.id).await.unwrap().state, CheckoutState::Open);
    at.fake.approve(&order.id);
    let paid = at.paypal.capture(&order.id, &reference("capture-2")).await.unwrap();
    assert_eq!(paid.state, CheckoutState::Paid);
    let order = at.paypal.open_checkout(&checkout("b", "q", money("100", "USD"))).await.unwrap();
    at.fake.void(&order.id);
    assert_eq!(at.paypal.close_checkout(&order.id).await.unwrap().state, CheckoutState::Expired);
    assert_eq!(refusal(at.paypal.checkout("UNKNOWN").await), "INVALID_RESOURCE_ID");
    at.end();
}

#[tokio::test]
async fn one_purchase_is_paid_once_even_on_two_orders() {
    let at = setting().await;
    at.paid("p").await;
    let second = at.paypal.open_checkout(&checkout("p-2", "p", money("100", "USD"))).await.unwrap();
    at.fake.approve(&second.id);
    let refused = at.paypal.capture(&second.id, &reference("p-2-capture")).await;
    assert_eq!(refusal(refused), "DUPLICATE_INVOICE_ID");
    at.end();
}

#[tokio::test]
async fn a_capture_that_waits_is_processing_until_it_comes_or_fails() {
    let at = setting().await;
    at.fake.captures_pend();
    for (purchase, good, ends) in [("p", true, CheckoutState::Paid), ("q", false, CheckoutState::Declined)] {
        let order = at.paid(purchase).await;
        assert_eq!(order.state, CheckoutState::Processing);
        let payment = order.payment.unwrap();
        assert_eq!((payment.state, payment.settlement), (PaymentState::Pending, None));
        at.fake.finish_capture(&payment.id, good);
        assert_eq!(at.paypal.checkout(&order.id).await.unwrap().state, ends);
    }
    at.end();
}

#[tokio::test]
async fn one_attempt_is_one_order_and_another_price_under_it_is_refused() {
    let at = setting().await;
    let new = checkout("attempt-1", "purchase-1", money("100", "USD"));
    let first = at.paypal.open_checkout(&new).await.unwrap();
    assert_eq!(at.paypal.open_checkout(&new).await.unwrap(), first);
    let other = checkout("attempt-1", "purchase-1", money("1", "USD"));
    assert_eq!(refusal(at.paypal.open_checkout(&other).await), "PAYPAL_REQUEST_ID_PREVIOUSLY_USED");
    assert_eq!(at.fake.counts()[0], 1);
    at.end();
}

#[tokio::test]
async fn what_is_lost_on_the_way_is_asked_again_and_happens_once() {
    let at = setting().await;
    let payment = at.captured("p").await;
    for (name, fault) in [
        ("r1", Fault::LoseAnswer),
        ("r2", Fault::LoseRequest),
        ("r3", Fault::FailAfter(500)),
        ("r4", Fault::Fail(503)),
        ("r5", Fault::AtWork),
        ("r6", Fault::Busy(Some(1))),
        ("r7", Fault::Busy(None)),
    ] {
        at.fake.meets("POST /v2/payments/captures", fault.clone());
        let refund = at.paypal.refund(&new_refund(name, &payment, "1")).await;
        assert_eq!(refund.unwrap().reference.as_deref(), Some(name), "{fault:?}");
    }
    assert_eq!(at.fake.counts()[2], 7);
    assert_eq!(at.paypal.payment(&payment).await.unwrap().refunded, money("7", "USD"));
    at.end();
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_says_so_and_the_same_payout_asked_again_is_one() {
    for fault in
        [Fault::LoseAnswer, Fault::LoseRequest, Fault::FailAfter(502), Fault::Fail(500), Fault::AtWork]
    {
        let at = setting().await;
        let new = new_payout("payout-1", "payout-1-1", money("250.50", "USD"));
        for _ in 0..3 {
            at.fake.meets("POST /v1/payments/payouts", fault.clone());
        }
        let unknown = at.paypal.send_payout(&new).await;
        assert!(matches!(unknown, Err(Failure::Unknown(_))), "{fault:?}: {unknown:?}");
        let payout = at.paypal.send_payout(&new).await.unwrap();
        assert_eq!((payout.amount, payout.state), (new.amount, PayoutState::Pending));
        assert_eq!(at.fake.counts()[3], 1, "{fault:?}");
        at.end();
    }
}

#[tokio::test]
async fn an_answer_that_is_no_answer_leaves_a_write_unknown_and_a_read_for_later() {
    let at = setting().await;
    let order = at.paypal.open_checkout(&checkout("a", "p", money("100", "USD"))).await.unwrap();
    at.fake.approve(&order.id);
    at.fake.meets("POST /v2/checkout/orders/", Fault::Garble);
    let capture = reference("capture-1");
    assert!(matches!(at.paypal.capture(&order.id, &capture).await, Err(Failure::Unknown(_))));
    assert_eq!(at.paypal.checkout(&order.id).await.unwrap().state, CheckoutState::Paid, "pulled");
    at.fake.meets("GET /v2/checkout", Fault::Garble);
    assert!(matches!(at.paypal.checkout(&order.id).await, Err(Failure::Unavailable { .. })));
    assert_eq!(at.fake.counts()[1], 1);
    at.end();
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_asked_for_again_under_the_same_key() {
    let at = setting_with(Limits { answer: Duration::from_millis(300), ..limits() }).await;
    let order = at.paypal.open_checkout(&checkout("a", "p", money("100", "USD"))).await.unwrap();
    at.fake.approve(&order.id);
    at.fake.meets("POST /v2/checkout/orders/", Fault::Delay(Duration::from_secs(3)));
    let paid = at.paypal.capture(&order.id, &reference("capture-1")).await.unwrap();
    assert_eq!((paid.state, at.fake.counts()[1]), (CheckoutState::Paid, 1));
    at.end();
}

#[tokio::test]
async fn a_token_serves_until_it_ends_or_is_taken_back() {
    let at = setting().await;
    let order = at.paypal.open_checkout(&checkout("a", "p", money("100", "USD"))).await.unwrap();
    at.paypal.checkout(&order.id).await.unwrap();
    let tokens = || at.fake.requests().iter().filter(|line| line.ends_with("/oauth2/token")).count();
    assert_eq!(tokens(), 1);
    later(&at.clock, 32_400 - 61);
    at.paypal.checkout(&order.id).await.unwrap();
    assert_eq!(tokens(), 1);
    later(&at.clock, 2);
    at.paypal.checkout(&order.id).await.unwrap();
    assert_eq!(tokens(), 2, "not in its last minute");
    at.fake.revoke_tokens();
    at.paypal.checkout(&order.id).await.unwrap();
    assert_eq!(tokens(), 3, "a new one, and again");
    at.end();
}

#[tokio::test]
async fn a_wrong_key_is_told_apart_from_everything_else() {
    let at = setting().await;
    let stranger = client(&at.fake, &at.clock, "another", limits());
    let refused = stranger.open_checkout(&checkout("a", "p", money("100", "USD"))).await;
    assert!(matches!(&refused, Err(Failure::WrongKey(said)) if said.code == "invalid_client"), "{refused:?}");
    let settings = |mode, secret: &str, address| PaypalSettings {
        mode,
        client: CLIENT.to_owned(),
        secret: secret.to_owned(),
        address,
    };
    let made = |settings| Paypal::new(settings, tools(&at.clock, limits()));
    assert!(matches!(made(settings(Mode::Test, "", None)), Err(BadSettings::WrongKey(..))));
    let elsewhere = settings(Mode::Live, SECRET, Some(at.fake.address()));
    assert!(matches!(made(elsewhere), Err(BadSettings::ForeignAddress(_))));
    let live = made(settings(Mode::Live, SECRET, None)).unwrap();
    assert_eq!(live.mode(), Mode::Live);
    assert!(!format!("{live:?}{:?}", settings(Mode::Live, SECRET, None)).contains(SECRET), "never printed");
    at.end();
}

#[tokio::test]
async fn an_attempt_in_doubt_stays_in_doubt_when_the_key_stops_working() {
    let at = setting_with(Limits { attempts: 2, ..limits() }).await;
    let new = new_payout("payout-1", "payout-1-1", money("10", "USD"));
    at.fake.meets("POST /v1/payments/payouts", Fault::LoseAnswer);
    at.fake.meets("POST /v1/payments/payouts", Fault::Fail(403));
    assert!(matches!(at.paypal.send_payout(&new).await, Err(Failure::Unknown(_))));
    at.fake.meets("POST /v1/payments/payouts", Fault::Fail(403));
    assert!(matches!(at.paypal.send_payout(&new).await, Err(Failure::WrongKey(_))));
    assert_eq!(at.fake.counts()[3], 1);
    at.end();
}

#[tokio::test]
async fn refunds_are_bounded_by_what_is_left() {
    let at = setting().await;
    let payment = at.captured("p").await;
    assert_eq!(
        refusal(at.paypal.refund(&new_refund("r0", &payment, "100.01")).await),
        "REFUND_AMOUNT_EXCEEDED"
    );
    at.fake.refunds_pend();
    let refund = at.paypal.refund(&new_refund("r1", &payment, "40")).await.unwrap();
    assert_eq!((refund.state, refund.payment.as_deref()), (RefundState::Pending, Some(payment.as_str())));
    at.fake.finish_refund(&refund.id, true);
    let done = at.paypal.refund_state(&refund.id).await.unwrap();
    assert_eq!((done.state, done.payment), (RefundState::Done, refund.payment));
    assert_eq!(at.paypal.payment(&payment).await.unwrap().refunded, money("40", "USD"));
    at.paypal.refund(&new_refund("r2", &payment, "60")).await.unwrap();
    assert_eq!(refusal(at.paypal.refund(&new_refund("r3", &payment, "1")).await), "CAPTURE_FULLY_REFUNDED");
    assert_eq!(at.paypal.payment(&payment).await.unwrap().refunded, money("100", "USD"));
    at.end();
}

#[tokio::test]
async fn what_paypal_may_have_forgotten_is_not_asked_again() {
    let at = setting().await;
    let payment = at.captured("p").await;
    let refund = new_refund("r", &payment, "40");
    let payout = new_payout("payout-1", "payout-1-1", money("10", "USD"));
    later(&at.clock, 30 * 86_400);
    let late = at.paypal.send_payout(&payout).await;
    assert!(matches!(&late, Err(Failure::Unknown(said)) if said.code == "too_late"), "{late:?}");
    assert!(at.paypal.refund(&refund).await.is_ok());
    later(&at.clock, 15 * 86_400);
    let late = at.paypal.refund(&refund).await;
    assert!(matches!(&late, Err(Failure::Unknown(said)) if said.code == "too_late"), "{late:?}");
    assert_eq!(at.fake.counts()[2..], [1, 0]);
    at.end();
}

#[tokio::test]
async fn a_batch_that_exists_is_found_by_its_name_when_its_key_is_forgotten() {
    let at = setting().await;
    let new = new_payout("payout-1", "payout-1-1", money("250.50", "USD"));
    let sent = at.paypal.send_payout(&new).await.unwrap();
    at.fake.forget_keys();
    let again = at.paypal.send_payout(&new).await.unwrap();
    assert_eq!((again.id, again.amount), (sent.id, sent.amount));
    let other = NewPayout { amount: money("1", "USD"), ..new };
    let refused = refusal(at.paypal.send_payout(&other).await);
    assert!(refused.contains("already exists"), "{refused}");
    assert_eq!(at.fake.counts()[3], 1);
    at.end();
}

#[tokio::test]
async fn payouts_settle_wait_to_be_claimed_fail_and_come_back() {
    let at = setting().await;
    let mut sent = Vec::new();
    for name in ["p1", "p2", "p3", "p4"] {
        let payout = at.paypal.send_payout(&new_payout(name, name, money("10", "USD"))).await.unwrap();
        assert_eq!((payout.state, payout.reference.as_deref()), (PayoutState::Pending, Some(name)));
        sent.push(payout.id);
    }
    at.fake.payout_becomes(&sent[0], "SUCCESS");
    at.fake.payout_becomes(&sent[1], "UNCLAIMED");
    at.fake.payout_becomes(&sent[2], "FAILED");
    at.fake.payout_becomes(&sent[3], "ONHOLD");
    let settled = at.paypal.payout(&sent[0]).await.unwrap();
    assert_eq!((settled.state, settled.fee), (PayoutState::Settled, Some(money("0.25", "USD"))));
    assert!(settled.in_books.is_some());
    assert_eq!(at.paypal.payout(&sent[1]).await.unwrap().state, PayoutState::Unclaimed);
    let failed = at.paypal.payout(&sent[2]).await.unwrap();
    assert_eq!(
        (failed.state, failed.reason.as_deref()),
        (PayoutState::Failed, Some("RECEIVER_ACCOUNT_LOCKED"))
    );
    let held = at.paypal.payout(&sent[3]).await.unwrap();
    assert_eq!((held.state, held.reason.as_deref()), (PayoutState::Pending, Some("ONHOLD")));
    let back = at.paypal.take_back_payout(&sent[1], &reference("back-1")).await.unwrap();
    assert_eq!((back.state, back.returned), (PayoutState::Returned, money("10", "USD")));
    assert_eq!(
        refusal(at.paypal.take_back_payout(&sent[0], &reference("back-2")).await),
        "ITEM_INCORRECT_STATUS"
    );
    at.fake.meets("POST /v1/payments/payouts", Fault::Decline("RECEIVER_UNREGISTERED"));
    let declined = at.paypal.send_payout(&new_payout("p5", "p5", money("10", "USD"))).await;
    assert!(matches!(declined, Err(Failure::Declined(_))), "{declined:?}");
    let to = Destination::StripeAccount("acct_1".to_owned());
    let elsewhere = NewPayout { to, ..new_payout("p6", "p6", money("10", "USD")) };
    assert_eq!(refusal(at.paypal.send_payout(&elsewhere).await), "destination");
    at.end();
}

#[tokio::test]
async fn what_has_no_key_is_not_asked_twice_and_is_pulled_instead() {
    let at = setting().await;
    let payment = at.captured("p").await;
    let dispute = at.fake.dispute(&payment, false);
    at.fake.meets("POST /v1/customer/disputes", Fault::LoseAnswer);
    let answer = at.paypal.answer_dispute(&dispute, &reference("answer-1"), &evidence()).await;
    assert!(matches!(answer, Err(Failure::Unknown(_))), "{answer:?}");
    let line = format!("POST /v1/customer/disputes/{dispute}/provide-evidence");
    assert_eq!(at.fake.requests().iter().filter(|asked| **asked == line).count(), 1);
    assert_eq!(at.paypal.dispute(&dispute).await.unwrap().state, DisputeState::UnderReview);
    at.end();
}

#[tokio::test]
async fn disputes_are_listed_answered_conceded_won_and_lost() {
    let at = setting().await;
    let mut ids = Vec::new();
    for purchase in ["p1", "p2", "p3", "p4"] {
        let payment = at.captured(purchase).await;
        ids.push((at.fake.dispute(&payment, purchase == "p4"), payment));
    }
    let listed = at.paypal.disputes(start(), None).await.unwrap();
    assert_eq!((listed.items.len(), listed.next), (4, None));
    let none = at.paypal.disputes(start().after(Span::from_seconds(60)).unwrap(), None).await.unwrap();
    assert!(none.items.is_empty());
    let (first, payment) = &ids[0];
    let dispute = at.paypal.dispute(first).await.unwrap();
    assert_eq!((dispute.state, dispute.inquiry), (DisputeState::NeedsAnswer, false));
    assert_eq!((dispute.amount, dispute.payment.as_deref()), (money("100", "USD"), Some(payment.as_str())));
    assert_eq!(dispute.answer_by, Some(start().after(Span::from_seconds(10 * 86_400)).unwrap()));
    let answered = at.paypal.answer_dispute(first, &reference("answer-1"), &evidence()).await.unwrap();
    assert_eq!(answered.state, DisputeState::UnderReview);
    let again = at.paypal.answer_dispute(first, &reference("answer-2"), &evidence()).await;
    assert_eq!(refusal(again), "ACTION_NOT_ALLOWED_IN_CURRENT_DISPUTE_STATE");
    at.fake.decide(first, "RESOLVED_SELLER_FAVOUR");
    assert_eq!(at.paypal.dispute(first).await.unwrap().state, DisputeState::Won);
    at.fake.decide(&ids[1].0, "RESOLVED_BUYER_FAVOUR");
    assert_eq!(at.paypal.dispute(&ids[1].0).await.unwrap().state, DisputeState::Lost);
    let conceded = at.paypal.concede_dispute(&ids[2].0, &reference("concede-1")).await.unwrap();
    assert_eq!(conceded.state, DisputeState::Lost);
    assert!(at.paypal.dispute(&ids[3].0).await.unwrap().inquiry);
    let mut long = evidence();
    long.activity = "signed in\n".repeat(300);
    assert_eq!(refusal(at.paypal.answer_dispute(&ids[3].0, &reference("x"), &long).await), "notes");
    at.end();
}

#[tokio::test]
async fn long_lists_of_disputes_are_read_page_by_page() {
    let at = setting().await;
    let payment = at.captured("p").await;
    for _ in 0..70 {
        at.fake.dispute(&payment, true);
    }
    let (mut found, mut page) = (Vec::new(), None);
    loop {
        let read = at.paypal.disputes(start(), page.as_deref()).await.unwrap();
        found.extend(read.items.into_iter().map(|dispute| dispute.id));
        page = read.next;
        if page.is_none() {
            break;
        }
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 70);
    at.end();
}

#[tokio::test]
async fn the_report_is_read_page_by_page_and_names_each_line_once() {
    let at = setting().await;
    let payment = at.captured("p").await;
    for count in 0..520 {
        let name = format!("r{count}");
        at.paypal.refund(&new_refund(&name, &payment, "0.10")).await.unwrap();
    }
    let sent = at.paypal.send_payout(&new_payout("payout-1", "p-1", money("10", "USD"))).await.unwrap();
    at.fake.payout_becomes(&sent.id, "UNCLAIMED");
    at.paypal.take_back_payout(&sent.id, &reference("back")).await.unwrap();
    let disputed = at.captured("q").await;
    let dispute = at.fake.dispute(&disputed, false);
    at.fake.decide(&dispute, "RESOLVED_SELLER_FAVOUR");
    let end = start().after(Span::from_seconds(86_400)).unwrap();
    let (mut entries, mut page) = (Vec::new(), None);
    loop {
        let read = at.paypal.entries(start(), end, page.as_deref()).await.unwrap();
        entries.extend(read.items);
        page = read.next;
        if page.is_none() {
            break;
        }
    }
    let mut ids: Vec<_> = entries.iter().map(|entry| entry.id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), entries.len()), (526, 526));
    let of = |kind| entries.iter().filter(|entry| entry.kind == kind).collect::<Vec<_>>();
    assert_eq!((of(EntryKind::Payment).len(), of(EntryKind::Refund).len()), (2, 520));
    assert_eq!((of(EntryKind::Dispute).len(), of(EntryKind::DisputeReturned).len()), (1, 1));
    let first = of(EntryKind::Payment)[0];
    assert_eq!((first.about.as_deref(), first.reference.as_deref()), (Some(payment.as_str()), Some("p")));
    assert_eq!(
        (first.gross, first.fee, first.net),
        (money("100", "USD"), money("3.98", "USD"), money("96.02", "USD"))
    );
    let payout = of(EntryKind::Payout)[0];
    assert_eq!((payout.gross, payout.fee), (money("-10", "USD"), money("0.25", "USD")));
    assert_eq!(payout.net, money("-10.25", "USD"));
    assert_eq!(payout.reference.as_deref(), Some("payout-1"));
    assert_eq!(of(EntryKind::PayoutReturned)[0].net, money("10.25", "USD"));
    for (from, to) in [
        (start(), start()),
        (end, start()),
        (start(), start().after(Span::from_seconds(32 * 86_400)).unwrap()),
    ] {
        assert_eq!(refusal(at.paypal.entries(from, to, None).await), "period");
    }
    at.end();
}

#[tokio::test]
async fn prices_are_written_as_paypal_takes_them() {
    let at = setting().await;
    for (text, currency) in [("12.34", "EUR"), ("500", "JPY"), ("1200", "HUF"), ("31", "TWD")] {
        let order =
            at.paypal.open_checkout(&checkout(currency, currency, money(text, currency))).await.unwrap();
        assert_eq!(order.price, money(text, currency));
    }
    for (text, currency) in [("10.45", "HUF"), ("5", "KWD"), ("5", "MAD"), ("0", "USD")] {
        let refused = at.paypal.open_checkout(&checkout("x", "x", money(text, currency))).await;
        assert_eq!(refusal(refused), "amount", "{text} {currency}");
    }
    assert_eq!(at.paypal.chargeable(money("10.45", "HUF")).unwrap(), money("11", "HUF"));
    at.end();
}

#[tokio::test]
async fn whatever_goes_wrong_on_the_way_asking_until_it_is_known_happens_once() {
    for seed in 0..25 {
        let at = setting().await;
        let payment = at.captured("p").await;
        let day = BadDay::new(seed);
        for count in 0..6_i64 {
            day.spoil(|fault| at.fake.meets("POST /v2/payments/captures", fault));
            let refund = new_refund(&format!("r{count}"), &payment, "1.50");
            until_known(|| at.paypal.refund(&refund)).await;
            day.spoil(|fault| at.fake.meets("POST /v1/payments/payouts", fault));
            let payout = new_payout(&format!("p{count}"), &format!("p{count}-1"), money("10", "USD"));
            until_known(|| at.paypal.send_payout(&payout)).await;
        }
        assert_eq!(at.fake.counts(), [1, 1, 6, 6], "seed {seed}");
        let refunded = at.paypal.payment(&payment).await.unwrap().refunded;
        assert_eq!(refunded, money("9", "USD"), "seed {seed}");
        assert_eq!(at.fake.wrong(), [""; 0]);
    }
}
