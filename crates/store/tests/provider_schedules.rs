//! Whatever Stripe tells, in whatever order, however often, and wherever whoever listens to it dies: the same books, one challenge for
//! each payment that was kept, nothing that differs. `SCHEDULES=10000 cargo nextest run -p store --test provider_schedules` runs so many.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "tests")]

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::common::FakeTaker;
use crate::connected::{Connected, connected};
use app::Context;
use app::disputes::{Disputes, Thresholds};
use app::ledger::{AsOf, LedgerStore as _};
use app::payments::checkouts::{Checkouts, Wish};
use app::payments::following::{Following, Parts};
use app::payments::notices::{NewNotice, NoticeStore as _};
use app::payments::port::{Headers, Mode, ProviderName, Webhooks as _};
use app::purchases::{Order, Purchase, PurchaseState, PurchaseStore as _, Purchases};
use app::refunds::Refunds;
use engine::Key;
use kernel::{Clock as _, FirmId, PurchaseId, Span};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use providers::payments::stripe::StripeWebhooks;
use sqlx::{AssertSqlSafe, Executor as _};
use testkit::payments::shuffled;
use testkit::payments::stripe::{FakeStripe, SECRET};
use testkit::{World, program};

/// What happens next, to one purchase.
#[derive(Debug, Clone)]
enum Step {
    /// The buyer pays on the page.
    Pay,
    /// The buyer pays by something that takes days, and then has, or has not.
    PayLater(bool),
    /// The page closes.
    Expire,
    /// Somebody refunds so many per cent at Stripe's own screen.
    Refund(u8),
    /// The bank wants the money back, and decides.
    Dispute(bool),
    /// Everything that Stripe has told so far is delivered: in another order, and again.
    Deliver(u64),
    /// Whoever follows takes a round and dies after so many awaits.
    Follow(u8),
    /// Whoever looks after pages takes a round, later, and dies after so many awaits.
    LookAfter(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Pay),
        1 => any::<bool>().prop_map(Step::PayLater),
        1 => Just(Step::Expire),
        2 => (1_u8..=100).prop_map(Step::Refund),
        1 => any::<bool>().prop_map(Step::Dispute),
        4 => any::<u64>().prop_map(Step::Deliver),
        4 => (0_u8..60).prop_map(Step::Follow),
        1 => (0_u8..60).prop_map(Step::LookAfter),
    ]
}

struct Shop {
    world: World,
    firm: FirmId,
    buyer: Context,
    version: String,
    fake: FakeStripe,
    hears: StripeWebhooks,
    checkouts: Arc<Checkouts>,
    refunds: Arc<Refunds>,
    disputes: Arc<Disputes>,
    following: Following,
}

async fn shop() -> Shop {
    let world = World::new().await;
    let firm = world.firm("one").await;
    world.publish(firm, "two-step", program("Two steps")).await;
    let buyer = world.context_of(firm, &world.person(firm, "trader@one.example").await);
    let version = world.catalogue.get(firm, "two-step").await.unwrap().version.to_string();
    let (clock, rng) = (world.clock.clone(), world.rng.clone());
    let Connected { stripe: fake, providers, .. } = connected(&world, firm).await;
    let store = || world.store.clone();
    let purchases = Arc::new(Purchases::new(store(), store(), clock.clone(), rng.clone()));
    let checkouts = Checkouts::new(store(), purchases, providers.clone(), clock.clone(), rng.clone());
    let checkouts = Arc::new(checkouts);
    let refunds = Arc::new(Refunds::new(store(), providers.clone(), clock.clone(), rng.clone()));
    let thresholds = Thresholds::default();
    let disputes = Arc::new(Disputes::new(store(), store(), providers.clone(), thresholds, clock.clone()));
    let payouts = crate::common::payouts(&world, &Arc::new(FakeTaker::default()), providers.clone());
    let parts = Parts {
        providers,
        checkouts: checkouts.clone(),
        refunds: refunds.clone(),
        disputes: disputes.clone(),
        payouts: Arc::new(payouts),
    };
    let following = Following::new(store(), parts, clock, rng);
    let hears = StripeWebhooks::new(Mode::Test, vec![SECRET.to_owned()]).unwrap();
    Shop { world, firm, buyer, version, fake, hears, checkouts, refunds, disputes, following }
}

/// Lets something go on for so many polls, and then it is gone.
async fn dies_after<T>(polls: u8, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut left = polls;
    poll_fn(move |context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        left = left.saturating_sub(1);
        if left == 0 { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

impl Shop {
    async fn run(&self, sql: String) {
        self.world.database.superuser().await.execute(AssertSqlSafe(sql)).await.unwrap();
    }

    async fn purchase(&self, id: PurchaseId) -> Purchase {
        self.world.store.purchase(self.firm, id).await.unwrap().unwrap()
    }

    async fn deliver(&self, told: &mut usize, seed: u64) {
        let webhooks = self.fake.webhooks();
        // Some of the last ones come again.
        let from = told.saturating_sub(3);
        for webhook in shuffled(&webhooks[from..], seed, false) {
            let now = self.world.clock.now();
            let notice = self.hears.verify(Headers::new(&webhook.headers), &webhook.body, now).await;
            let new = NewNotice::new(notice.unwrap(), webhook.body, now).unwrap();
            self.world.store.keep_notices(self.firm, &[new]).await.unwrap();
        }
        *told = webhooks.len();
    }

    /// What somebody who died had taken is taken by others once its lease is over.
    async fn leases_end(&self) {
        let sql = "update provider_notices set next_at = clock_timestamp() where state = 'waiting'";
        self.run(sql.to_owned()).await;
    }

    async fn follow(&self, polls: u8) {
        drop(dies_after(polls.saturating_add(1), self.following.round()).await);
        self.leases_end().await;
    }

    async fn look_after(&self, polls: u8) {
        self.world.clock.advance(Span::from_seconds(130));
        let context = |firm| self.following.context(firm);
        drop(dies_after(polls.saturating_add(1), self.checkouts.look_after(10, &context)).await);
    }

    /// Everything is told, and nobody dies any more.
    async fn settle(&self, told: &mut usize) {
        self.deliver(told, 1).await;
        self.world.clock.advance(Span::from_seconds(4_000));
        let context = |firm| self.following.context(firm);
        for _ in 0..30 {
            self.leases_end().await;
            let nobody = self.world.context(self.firm);
            let followed = self.following.round().await.unwrap();
            let looked = self.checkouts.look_after(10, &context).await.unwrap();
            let refunded = self.refunds.janitor(&nobody).await.unwrap();
            let disputed = self.disputes.janitor(&nobody).await.unwrap();
            self.deliver(told, 2).await;
            if followed + looked + refunded + disputed == 0 {
                return;
            }
        }
    }

    async fn schedule(&self, number: u64, steps: &[Step]) -> Result<(), TestCaseError> {
        let order = Order { slug: "two-step".to_owned(), version: self.version.clone(), ..Order::default() };
        let key = Key::parse(&format!("schedule-{number}")).unwrap();
        let purchase = self.world.purchases.buy(&self.buyer, &key, order).await.unwrap();
        let wish =
            Wish { purchase: purchase.id, provider: ProviderName::Stripe, public_url: "https://one.example" };
        self.checkouts.open(&self.buyer, &wish).await.unwrap();
        let mine = |session: &serde_json::Value| session["client_reference_id"] == purchase.id.to_string();
        let sessions = self.fake.all("checkout.session");
        let session =
            sessions.iter().find(|session| mine(session)).unwrap()["id"].as_str().unwrap().to_owned();
        let mut told = self.fake.webhooks().len();
        // What is true at Stripe: the payment, what went back, whether the bank has it.
        let (mut open, mut payment, mut kept, mut lost) = (true, None, 0_i64, false);
        for step in steps {
            match step {
                Step::Pay if open => {
                    payment = Some(self.fake.pay(&session));
                    (open, kept) = (false, purchase.fee.minor());
                }
                Step::PayLater(good) if open => {
                    let intent = self.fake.pay_later(&session);
                    self.deliver(&mut told, 3).await;
                    self.fake.settle(&session, *good);
                    open = false;
                    if *good {
                        (payment, kept) = (Some(intent), purchase.fee.minor());
                    }
                }
                Step::Expire if open => {
                    self.fake.expire(&session);
                    open = false;
                }
                Step::Refund(share) => {
                    if let (Some(payment), false) = (&payment, lost) {
                        let amount = (kept * i64::from(*share)).div_euclid(100);
                        if amount > 0 {
                            self.fake.refund_by_hand(payment, amount);
                            kept -= amount;
                        }
                    }
                }
                Step::Dispute(won) => {
                    if let (Some(payment), false) = (&payment, lost)
                        && kept == purchase.fee.minor()
                    {
                        let dispute = self.fake.dispute(payment, false);
                        self.deliver(&mut told, 4).await;
                        self.fake.decide(&dispute, *won);
                        lost = !won;
                        // One is enough.
                        if *won {
                            kept -= 1;
                            self.fake.refund_by_hand(payment, 1);
                        }
                    }
                }
                Step::Deliver(seed) => self.deliver(&mut told, *seed).await,
                Step::Follow(polls) => self.follow(*polls).await,
                Step::LookAfter(polls) => self.look_after(*polls).await,
                Step::Pay | Step::PayLater(_) | Step::Expire => {}
            }
        }
        if open {
            self.fake.expire(&session);
        }
        self.settle(&mut told).await;
        self.is_as_at_stripe(&purchase, payment.as_deref(), kept, lost).await
    }

    async fn is_as_at_stripe(
        &self,
        purchase: &Purchase,
        payment: Option<&str>,
        kept: i64,
        lost: bool,
    ) -> Result<(), TestCaseError> {
        let now = self.purchase(purchase.id).await;
        let expected: &[PurchaseState] = match (payment, kept, lost) {
            (None, ..) => &[PurchaseState::Expired, PurchaseState::Failed],
            (Some(_), _, true) => &[PurchaseState::ChargedBack],
            (Some(_), 0, _) => &[PurchaseState::Refunded],
            (Some(_), ..) => &[PurchaseState::Captured],
        };
        prop_assert!(expected.contains(&now.state), "{:?} and not {:?}", now.state, expected);
        prop_assert_eq!(now.challenge.is_some(), payment.is_some());
        let waits = "select count(*) from provider_notices where state in ('waiting', 'stuck')";
        let waiting: i64 =
            sqlx::query_scalar(waits).fetch_one(&mut self.world.database.superuser().await).await.unwrap();
        prop_assert_eq!(waiting, 0, "something that was told waits for ever");
        Ok(())
    }
}

#[test]
fn however_a_provider_tells_it_and_wherever_listeners_die_the_books_are_the_same() {
    let cases = std::env::var_os("SCHEDULES").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(60);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let shop = runtime.block_on(shop());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let number = std::sync::atomic::AtomicU64::new(0);
    let schedules = proptest::collection::vec(step(), 1..14);
    let ran = TestRunner::new(config).run(&schedules, |steps| {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        runtime.block_on(shop.schedule(number, &steps))
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
    runtime.block_on(async {
        let books = shop.world.store.books(shop.firm, AsOf::default()).await.unwrap();
        assert!(books.balanced().unwrap());
        assert_eq!(shop.world.store.money_faults(shop.firm).await.unwrap(), []);
        // But for its fees on payments, which the comparison with its books posts.
        let lines = shop.fake.all("balance_transaction");
        let fees: i64 = lines
            .iter()
            .filter(|line| line["type"] == "charge")
            .map(|line| line["fee"].as_i64().unwrap())
            .sum();
        let held =
            books.balances.iter().find(|balance| balance.account.to_string() == "provider_clearing:stripe");
        let held = held.map_or(0, |balance| balance.debits - balance.credits);
        assert_eq!(held, shop.fake.balance("usd") + fees);
        assert_eq!(shop.fake.wrong(), [""; 0]);
    });
}
