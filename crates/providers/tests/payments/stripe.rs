use std::sync::Arc;
use std::time::Duration;

use app::payments::port::{
    CheckoutState, Destination, DisputeState, EntryKind, Failure, Mode, NewPayout, NewRefund, PaymentState,
    PayoutState, Provider as _, RefundState,
};
use kernel::{ManualClock, Money, Span};
use providers::payments::stripe::{Stripe, StripeSettings};
use providers::payments::{BadSettings, Limits};
use testkit::payments::Fault;
use testkit::payments::stripe::{FakeStripe, KEY};

use super::{
    BadDay, checkout, clock, evidence, later, limits, money, reference, refusal, start, tools, until_known,
};

struct Setting {
    clock: Arc<ManualClock>,
    fake: FakeStripe,
    stripe: Stripe,
}

fn client(fake: &FakeStripe, clock: &Arc<ManualClock>, key: &str, limits: Limits) -> Stripe {
    let settings = StripeSettings { mode: Mode::Test, key: key.to_owned(), address: Some(fake.address()) };
    Stripe::new(settings, tools(clock, limits)).unwrap()
}

async fn setting_with(limits: Limits) -> Setting {
    let clock = clock();
    let fake = FakeStripe::open(clock.clone()).await;
    let stripe = client(&fake, &clock, KEY, limits);
    Setting { clock, fake, stripe }
}

async fn setting() -> Setting {
    setting_with(limits()).await
}

impl Setting {
    /// A page for 100 dollars that is paid; the names of the page and of the payment.
    async fn paid(&self, purchase: &str) -> (String, String) {
        let page = checkout(&format!("{purchase}-1"), purchase, money("100", "USD"));
        let page = self.stripe.open_checkout(&page).await.unwrap();
        let payment = self.fake.pay(&page.id);
        (page.id, payment)
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
        to: Destination::StripeAccount("acct_1Amina".to_owned()),
        note: "Your share of May".to_owned(),
        first_asked_at: start(),
    }
}

#[tokio::test]
async fn a_purchase_is_paid_on_stripes_page_and_read_back_with_what_it_came_to() {
    let at = setting().await;
    let new = checkout("attempt-1", "purchase-1", money("100", "USD"));
    let page = at.stripe.open_checkout(&new).await.unwrap();
    assert_eq!((page.state, page.price), (CheckoutState::Open, new.price));
    assert_eq!(page.purchase.as_deref(), Some("purchase-1"));
    assert!(page.page.as_deref().unwrap().starts_with("https://checkout.stripe.com/"));
    at.fake.decline(&page.id);
    assert_eq!(
        at.stripe.checkout(&page.id).await.unwrap().state,
        CheckoutState::Open,
        "another card may work"
    );
    let paid = at.fake.pay(&page.id);
    let page = at.stripe.checkout(&page.id).await.unwrap();
    assert_eq!((page.state, page.page.clone()), (CheckoutState::Paid, None));
    let payment = page.payment.clone().unwrap();
    assert_eq!((payment.id.as_str(), payment.state), (paid.as_str(), PaymentState::Captured));
    assert_eq!((payment.amount, payment.refunded), (new.price, money("0", "USD")));
    assert_eq!(payment.purchase.as_deref(), Some("purchase-1"));
    let settlement = payment.settlement.unwrap();
    assert_eq!((settlement.gross, settlement.fee), (new.price, money("3.20", "USD")));
    assert_eq!(settlement.net, money("96.80", "USD"));
    assert_eq!(at.stripe.payment(&paid).await.unwrap(), payment);
    let captured = at.stripe.capture(&page.id, &reference("capture-1")).await.unwrap();
    assert_eq!(captured, page, "the page has captured already");
    at.end();
}

#[tokio::test]
async fn a_delayed_payment_is_processing_until_it_comes_or_fails() {
    let at = setting().await;
    for (purchase, good, ends) in [("p1", true, CheckoutState::Paid), ("p2", false, CheckoutState::Declined)]
    {
        let page = at.stripe.open_checkout(&checkout(purchase, purchase, money("50", "EUR"))).await.unwrap();
        at.fake.pay_later(&page.id);
        assert_eq!(at.stripe.checkout(&page.id).await.unwrap().state, CheckoutState::Processing);
        at.fake.settle(&page.id, good);
        assert_eq!(at.stripe.checkout(&page.id).await.unwrap().state, ends);
    }
    at.end();
}

#[tokio::test]
async fn a_page_that_is_closed_takes_nothing_and_one_that_is_paid_stays_paid() {
    let at = setting().await;
    let page = at.stripe.open_checkout(&checkout("a", "p", money("100", "USD"))).await.unwrap();
    assert_eq!(at.stripe.close_checkout(&page.id).await.unwrap().state, CheckoutState::Expired);
    assert_eq!(at.stripe.close_checkout(&page.id).await.unwrap().state, CheckoutState::Expired);
    let (paid, _) = at.paid("q").await;
    assert_eq!(at.stripe.close_checkout(&paid).await.unwrap().state, CheckoutState::Paid);
    at.end();
}

#[tokio::test]
async fn one_attempt_is_one_page_and_another_price_under_it_is_refused() {
    let at = setting().await;
    let new = checkout("attempt-1", "purchase-1", money("100", "USD"));
    let first = at.stripe.open_checkout(&new).await.unwrap();
    assert_eq!(at.stripe.open_checkout(&new).await.unwrap(), first);
    let other = checkout("attempt-1", "purchase-1", money("1", "USD"));
    assert_eq!(refusal(at.stripe.open_checkout(&other).await), "idempotency_key_reused");
    assert_eq!(at.fake.all("checkout.session").len(), 1);
    at.end();
}

#[tokio::test]
async fn what_is_lost_on_the_way_is_asked_again_and_happens_once() {
    let at = setting().await;
    let (_, payment) = at.paid("p").await;
    for (name, fault) in [
        ("r1", Fault::LoseAnswer),
        ("r2", Fault::LoseRequest),
        ("r3", Fault::FailAfter(500)),
        ("r4", Fault::Fail(503)),
        ("r5", Fault::AtWork),
        ("r6", Fault::Busy(Some(1))),
        ("r7", Fault::Busy(None)),
    ] {
        at.fake.meets("POST /v1/refunds", fault.clone());
        let refund = at.stripe.refund(&new_refund(name, &payment, "1")).await;
        assert_eq!(refund.unwrap().reference.as_deref(), Some(name), "{fault:?}");
    }
    assert_eq!(at.fake.all("refund").len(), 7);
    assert_eq!(at.stripe.payment(&payment).await.unwrap().refunded, money("7", "USD"));
    at.end();
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_says_so_and_the_same_refund_asked_again_is_one() {
    for fault in
        [Fault::LoseAnswer, Fault::LoseRequest, Fault::FailAfter(502), Fault::Fail(500), Fault::AtWork]
    {
        let at = setting().await;
        let (_, payment) = at.paid("p").await;
        let new = new_refund("r", &payment, "40");
        for _ in 0..3 {
            at.fake.meets("POST /v1/refunds", fault.clone());
        }
        let unknown = at.stripe.refund(&new).await;
        assert!(matches!(unknown, Err(Failure::Unknown(_))), "{fault:?}: {unknown:?}");
        let refund = at.stripe.refund(&new).await.unwrap();
        assert_eq!((refund.amount, refund.state), (new.amount, RefundState::Done));
        assert_eq!(at.fake.all("refund").len(), 1, "{fault:?}");
        at.end();
    }
}

#[tokio::test]
async fn an_answer_that_is_no_answer_leaves_a_write_unknown_and_a_read_for_later() {
    let at = setting().await;
    let (page, payment) = at.paid("p").await;
    let new = new_refund("r", &payment, "40");
    at.fake.meets("POST /v1/refunds", Fault::Garble);
    assert!(matches!(at.stripe.refund(&new).await, Err(Failure::Unknown(_))));
    assert_eq!(at.stripe.refund(&new).await.unwrap().amount, new.amount);
    at.fake.meets("GET /v1/checkout", Fault::Garble);
    assert!(matches!(at.stripe.checkout(&page).await, Err(Failure::Unavailable { .. })));
    assert_eq!(at.fake.all("refund").len(), 1);
    at.end();
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_asked_for_again_under_the_same_key() {
    let at = setting_with(Limits { answer: Duration::from_millis(300), ..limits() }).await;
    let (_, payment) = at.paid("p").await;
    at.fake.meets("POST /v1/refunds", Fault::Delay(Duration::from_secs(3)));
    let refund = at.stripe.refund(&new_refund("r", &payment, "40")).await.unwrap();
    assert_eq!(refund.amount, money("40", "USD"));
    assert_eq!(at.fake.all("refund").len(), 1);
    at.end();
}

#[tokio::test]
async fn a_provider_that_is_busy_or_away_has_done_nothing() {
    let at = setting().await;
    let (page, payment) = at.paid("p").await;
    for _ in 0..3 {
        at.fake.meets("POST /v1/refunds", Fault::Busy(Some(20)));
    }
    match at.stripe.refund(&new_refund("r", &payment, "1")).await {
        Err(Failure::Unavailable { retry_after, .. }) => {
            assert_eq!(retry_after, Some(Span::from_seconds(20)));
        }
        other => panic!("{other:?}"),
    }
    for _ in 0..3 {
        at.fake.meets("GET /v1/checkout", Fault::Fail(500));
    }
    assert!(matches!(at.stripe.checkout(&page).await, Err(Failure::Unavailable { .. })));
    assert_eq!(at.fake.all("refund").len(), 0);
    let Setting { clock, fake, .. } = at;
    let stripe = client(&fake, &clock, KEY, limits());
    drop(fake);
    let gone = stripe.open_checkout(&checkout("a", "p", money("1", "USD"))).await;
    assert!(matches!(gone, Err(Failure::Unavailable { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_provider_that_fails_again_and_again_is_left_alone_for_a_while() {
    let rest = Duration::from_secs(30);
    let at = setting_with(Limits { attempts: 1, most_failures: 2, rest, ..limits() }).await;
    let (page, _) = at.paid("p").await;
    for _ in 0..3 {
        at.fake.meets("GET /v1/checkout", Fault::Fail(500));
    }
    let away = |result| matches!(result, Err(Failure::Unavailable { .. }));
    assert!(away(at.stripe.checkout(&page).await));
    assert!(away(at.stripe.checkout(&page).await));
    let asked = at.fake.faults_waiting();
    match at.stripe.checkout(&page).await {
        Err(Failure::Unavailable { said, retry_after }) => {
            assert_eq!((said.code.as_str(), retry_after), ("left_alone", Some(Span::from(rest))));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(at.fake.faults_waiting(), asked, "it was not asked");
    later(&at.clock, 30);
    assert!(away(at.stripe.checkout(&page).await), "the one that tries");
    assert!(away(at.stripe.checkout(&page).await));
    later(&at.clock, 30);
    assert_eq!(at.stripe.checkout(&page).await.unwrap().state, CheckoutState::Paid);
    at.end();
}

#[tokio::test]
async fn refunds_are_bounded_by_what_is_left_and_a_failed_one_leaves_it() {
    let at = setting().await;
    let (_, payment) = at.paid("p").await;
    assert_eq!(refusal(at.stripe.refund(&new_refund("r0", &payment, "100.01")).await), "amount_too_large");
    at.fake.refunds_pend();
    let refund = at.stripe.refund(&new_refund("r1", &payment, "100")).await.unwrap();
    assert_eq!(refund.state, RefundState::Pending);
    assert_eq!(refund.payment.as_deref(), Some(payment.as_str()));
    assert_eq!(refusal(at.stripe.refund(&new_refund("r2", &payment, "1")).await), "charge_already_refunded");
    at.fake.finish_refund(&refund.id, false);
    let failed = at.stripe.refund_state(&refund.id).await.unwrap();
    assert_eq!((failed.state, failed.reason.as_deref()), (RefundState::Failed, Some("lost_or_stolen_card")));
    assert_eq!(at.stripe.payment(&payment).await.unwrap().refunded, money("0", "USD"));
    let refund = at.stripe.refund(&new_refund("r3", &payment, "60")).await.unwrap();
    at.fake.finish_refund(&refund.id, true);
    assert_eq!(at.stripe.refund_state(&refund.id).await.unwrap().state, RefundState::Done);
    let by_hand = at.fake.refund_by_hand(&payment, 1_000);
    assert_eq!(at.stripe.refund_state(&by_hand).await.unwrap().reference, None);
    assert_eq!(at.stripe.payment(&payment).await.unwrap().refunded, money("70", "USD"));
    assert_eq!(refusal(at.stripe.refund_state("re_unknown").await), "resource_missing");
    assert_eq!(refusal(at.stripe.refund_state("re/../x").await), "id");
    at.end();
}

#[tokio::test]
async fn a_key_that_stripe_has_forgotten_does_not_pay_twice() {
    let at = setting().await;
    let (_, payment) = at.paid("p").await;
    at.fake.top_up(100_000, "usd");
    for _ in 0..120 {
        at.fake.refund_by_hand(&payment, 1);
    }
    let refund = new_refund("r", &payment, "40");
    let payout = new_payout("payout-1", "payout-1-1", money("500", "USD"));
    let (refunded, sent) =
        (at.stripe.refund(&refund).await.unwrap(), at.stripe.send_payout(&payout).await.unwrap());
    for _ in 0..120 {
        at.fake.refund_by_hand(&payment, 1);
    }
    at.fake.forget_keys();
    later(&at.clock, 25 * 3_600);
    assert_eq!(at.stripe.refund(&refund).await.unwrap(), refunded);
    assert_eq!(at.stripe.send_payout(&payout).await.unwrap(), sent);
    let other = NewPayout { amount: money("1", "USD"), ..payout.clone() };
    assert_eq!(refusal(at.stripe.send_payout(&other).await), "other_amount");
    // A search that fails says nothing about what was sent before.
    for _ in 0..3 {
        at.fake.meets("GET /v1/transfers", Fault::Fail(500));
    }
    assert!(matches!(at.stripe.send_payout(&payout).await, Err(Failure::Unknown(_))));
    assert_eq!((at.fake.all("refund").len(), at.fake.all("transfer").len()), (241, 1));
    at.end();
}

#[tokio::test]
async fn disputes_are_listed_answered_conceded_won_and_lost() {
    let at = setting().await;
    let mut ids = Vec::new();
    for purchase in ["p1", "p2", "p3", "p4"] {
        let (_, payment) = at.paid(purchase).await;
        ids.push((at.fake.dispute(&payment, purchase == "p4"), payment));
    }
    let listed = at.stripe.disputes(start(), None).await.unwrap();
    assert_eq!((listed.items.len(), listed.next), (4, None));
    let (first, payment) = &ids[0];
    let dispute = at.stripe.dispute(first).await.unwrap();
    assert_eq!((dispute.state, dispute.inquiry), (DisputeState::NeedsAnswer, false));
    assert_eq!((dispute.amount, dispute.fee), (money("100", "USD"), Some(money("15", "USD"))));
    assert_eq!(dispute.payment.as_deref(), Some(payment.as_str()));
    assert_eq!(dispute.answer_by, Some(start().after(Span::from_seconds(7 * 86_400)).unwrap()));
    assert!(at.stripe.payment(payment).await.unwrap().disputed);
    assert_eq!(refusal(at.stripe.refund(&new_refund("r", payment, "1")).await), "charge_disputed");
    let answer = at.stripe.answer_dispute(first, &reference("answer-1"), &evidence()).await.unwrap();
    assert_eq!(answer.state, DisputeState::UnderReview);
    let kept = at.fake.thing(first);
    assert_eq!(kept["evidence"]["customer_name"], "Amina");
    let file = at.fake.thing(kept["evidence"]["cancellation_policy"].as_str().unwrap());
    assert_eq!((&file["purpose"], &file["size"]), (&"dispute_evidence".into(), &24.into()));
    let again = at.stripe.answer_dispute(first, &reference("answer-2"), &evidence()).await;
    assert_eq!(refusal(again), "dispute_not_open");
    at.fake.decide(first, true);
    assert_eq!(at.stripe.dispute(first).await.unwrap().state, DisputeState::Won);
    at.fake.decide(&ids[1].0, false);
    assert_eq!(at.stripe.dispute(&ids[1].0).await.unwrap().state, DisputeState::Lost);
    let conceded = at.stripe.concede_dispute(&ids[2].0, &reference("concede-1")).await.unwrap();
    assert_eq!(conceded.state, DisputeState::Lost);
    let inquiry = at.stripe.dispute(&ids[3].0).await.unwrap();
    assert_eq!((inquiry.inquiry, inquiry.fee), (true, None));
    let mut twice = evidence();
    twice.documents.push(twice.documents[0].clone());
    assert_eq!(refusal(at.stripe.answer_dispute(&ids[3].0, &reference("x"), &twice).await), "documents");
    twice.documents[1].name = "a\"\r\nx: y".to_owned();
    twice.documents.remove(0);
    assert_eq!(refusal(at.stripe.answer_dispute(&ids[3].0, &reference("y"), &twice).await), "file_name");
    at.end();
}

#[tokio::test]
async fn a_payout_needs_money_is_sent_once_and_may_be_taken_back() {
    let at = setting().await;
    let new = new_payout("payout-1", "payout-1-1", money("250.50", "USD"));
    assert_eq!(refusal(at.stripe.send_payout(&new).await), "balance_insufficient");
    at.fake.top_up(100_000, "usd");
    assert_eq!(
        refusal(at.stripe.send_payout(&new).await),
        "balance_insufficient",
        "the attempt keeps its answer"
    );
    let new = NewPayout { attempt: reference("payout-1-2"), ..new };
    at.fake.meets("POST /v1/transfers", Fault::LoseAnswer);
    let sent = at.stripe.send_payout(&new).await.unwrap();
    assert_eq!((sent.state, sent.amount), (PayoutState::Settled, new.amount));
    assert_eq!(sent.reference.as_deref(), Some("payout-1"));
    assert_eq!(at.stripe.send_payout(&new).await.unwrap(), sent);
    assert_eq!((at.fake.all("transfer").len(), at.fake.balance("usd")), (1, 74_950));
    let back = at.stripe.take_back_payout(&sent.id, &reference("back-1")).await.unwrap();
    assert_eq!((back.state, back.returned), (PayoutState::Returned, new.amount));
    assert_eq!(at.stripe.payout(&sent.id).await.unwrap(), back);
    assert_eq!(at.fake.balance("usd"), 100_000);
    let elsewhere = NewPayout { to: Destination::PaypalEmail("a@example.com".to_owned()), ..new.clone() };
    assert_eq!(refusal(at.stripe.send_payout(&elsewhere).await), "destination");
    at.fake.meets("POST /v1/transfers", Fault::Decline("transfers_not_allowed"));
    let declined = NewPayout { attempt: reference("payout-1-3"), ..new };
    assert_eq!(refusal(at.stripe.send_payout(&declined).await), "transfers_not_allowed");
    at.end();
}

#[tokio::test]
async fn a_look_that_fails_after_a_payout_was_taken_back_does_not_say_that_nothing_happened() {
    let at = setting().await;
    at.fake.top_up(100_000, "usd");
    let sent = at.stripe.send_payout(&new_payout("p", "p-1", money("10", "USD"))).await.unwrap();
    for _ in 0..3 {
        at.fake.meets("GET /v1/transfers", Fault::Fail(503));
    }
    let back = at.stripe.take_back_payout(&sent.id, &reference("back-1")).await;
    assert!(matches!(back, Err(Failure::Unknown(_))), "{back:?}");
    let back = at.stripe.take_back_payout(&sent.id, &reference("back-1")).await.unwrap();
    assert_eq!((back.state, at.fake.balance("usd")), (PayoutState::Returned, 100_000));
    at.end();
}

#[tokio::test]
async fn the_books_are_read_page_by_page_and_add_up_to_the_balance() {
    let at = setting().await;
    let (_, payment) = at.paid("p").await;
    for _ in 0..130 {
        at.fake.refund_by_hand(&payment, 10);
    }
    at.fake.top_up(5_000, "usd");
    let (_, disputed) = at.paid("q").await;
    at.fake.dispute(&disputed, false);
    at.stripe.send_payout(&new_payout("p", "p-1", money("10", "USD"))).await.unwrap();
    let end = start().after(Span::from_seconds(86_400)).unwrap();
    let (mut entries, mut page) = (Vec::new(), None);
    loop {
        let read = at.stripe.entries(start(), end, page.as_deref()).await.unwrap();
        assert!(read.items.len() <= 100);
        entries.extend(read.items);
        page = read.next;
        if page.is_none() {
            break;
        }
    }
    let net: i64 = entries.iter().map(|entry| entry.net.minor()).sum();
    assert_eq!((entries.len(), net), (135, at.fake.balance("usd")));
    let count = |kind| entries.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!((count(EntryKind::Payment), count(EntryKind::Refund)), (2, 130));
    assert_eq!((count(EntryKind::Dispute), count(EntryKind::Payout), count(EntryKind::Bank)), (1, 1, 1));
    let charge = at.stripe.payment(&payment).await.unwrap().in_books;
    assert!(entries.iter().any(|entry| entry.about == charge && entry.fee == money("3.20", "USD")));
    let before =
        at.stripe.entries(start().before(Span::from_seconds(60)).unwrap(), start(), None).await.unwrap();
    assert!(before.items.is_empty(), "the end is not included");
    at.end();
}

#[tokio::test]
async fn what_is_of_the_other_mode_is_refused_wherever_it_is_met() {
    let at = setting().await;
    for (mode, key) in [
        (Mode::Test, "sk_live_51TradeSense"),
        (Mode::Live, "sk_test_51TradeSense"),
        (Mode::Live, "rk_test_51TradeSense"),
        (Mode::Test, "pk_test_51TradeSense"),
        (Mode::Test, "sk_test"),
        (Mode::Test, ""),
    ] {
        let settings = StripeSettings { mode, key: key.to_owned(), address: None };
        let made = Stripe::new(settings, tools(&at.clock, limits()));
        assert!(matches!(made, Err(BadSettings::WrongKey(..))), "{key}");
    }
    let live = |address| {
        let settings = StripeSettings { mode: Mode::Live, key: "sk_live_51TradeSense".to_owned(), address };
        Stripe::new(settings, tools(&at.clock, limits()))
    };
    assert!(live(None).is_ok());
    assert!(matches!(live(Some(at.fake.address())), Err(BadSettings::ForeignAddress(_))));
    let (page, payment) = at.paid("p").await;
    at.fake.dispute(&payment, true);
    at.fake.meets("GET /v1/checkout", Fault::OtherMode);
    assert!(matches!(at.stripe.checkout(&page).await, Err(Failure::WrongKey(_))));
    at.fake.meets("GET /v1/disputes", Fault::OtherMode);
    assert!(matches!(at.stripe.disputes(start(), None).await, Err(Failure::WrongKey(_))));
    at.fake.meets("POST /v1/checkout", Fault::OtherMode);
    let other = at.stripe.open_checkout(&checkout("b", "b", money("5", "USD"))).await;
    assert!(matches!(other, Err(Failure::WrongKey(_))));
    let stranger = client(&at.fake, &at.clock, "sk_test_somebodyelse", limits());
    assert!(matches!(stranger.checkout(&page).await, Err(Failure::WrongKey(_))));
    assert!(!format!("{:?}", at.stripe).contains(KEY), "a key is never printed");
    at.end();
}

#[tokio::test]
async fn prices_are_asked_for_as_stripe_counts_them() {
    let at = setting().await;
    for (text, currency, counted) in [("5.13", "KWD", 5_130), ("500", "JPY", 500), ("1000", "ISK", 100_000)] {
        let page =
            at.stripe.open_checkout(&checkout(currency, currency, money(text, currency))).await.unwrap();
        assert_eq!(page.price, money(text, currency));
        assert_eq!(at.fake.thing(&page.id)["amount_total"], counted);
    }
    let fine = money("5.124", "KWD");
    assert_eq!(refusal(at.stripe.open_checkout(&checkout("x", "x", fine)).await), "amount");
    assert_eq!(at.stripe.chargeable(fine).unwrap(), money("5.13", "KWD"));
    assert_eq!(at.stripe.payable(money("10.45", "HUF")).unwrap(), money("10", "HUF"));
    assert_eq!(refusal(at.stripe.open_checkout(&checkout("y", "y", money("5", "CNH"))).await), "amount");
    at.end();
}

#[tokio::test]
async fn whatever_goes_wrong_on_the_way_asking_until_it_is_known_happens_once() {
    for seed in 0..25 {
        let at = setting().await;
        let (_, payment) = at.paid("p").await;
        at.fake.top_up(100_000, "usd");
        let before = at.fake.balance("usd");
        let day = BadDay::new(seed);
        for count in 0..6_i64 {
            day.spoil(|fault| at.fake.meets("POST /v1/refunds", fault));
            let refund = new_refund(&format!("r{count}"), &payment, "1.50");
            until_known(|| at.stripe.refund(&refund)).await;
            day.spoil(|fault| at.fake.meets("POST /v1/transfers", fault));
            let payout = new_payout(&format!("p{count}"), &format!("p{count}-1"), money("10", "USD"));
            until_known(|| at.stripe.send_payout(&payout)).await;
        }
        assert_eq!(at.fake.balance("usd"), before - 6 * (150 + 1_000), "seed {seed}");
        assert_eq!(at.fake.wrong(), [""; 0]);
    }
}
