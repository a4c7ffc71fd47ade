//! Selling on a real database: prices, coupons, add-ons, resets and trials, and what a purchase leaves in the books.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use app::catalogue::{Addon, AddonChange, AddonPrice, Country, Coupon, Off, Price, ShelfChange, Tax};
use app::identity::Person;
use app::ledger::{AsOf, LedgerStore as _, Provider};
use app::purchases::{
    Bought, Happening, OPEN_FOR, Order, Purchase, PurchaseEvent, PurchaseState, PurchaseStore as _,
};
use app::{AppError, Context};
use common::{Owner, usd};
use engine::Key;
use futures_util::future::join_all;
use kernel::{FirmId, Percent, Span};
use testkit::{World, program};

struct Shop {
    world: World,
    firm: FirmId,
    admin: Context,
    trader: Person,
    buyer: Context,
    version: String,
}

async fn shop() -> Shop {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let mut sold = program("Two steps");
    sold.phases[0].rules.retain(|rule| rule.kind() != "min_trading_days");
    let payout = serde_json::from_str(r#"{"split":"80"}"#).unwrap();
    sold.phases[1].payout = Some(payout);
    world.publish(firm, "two-step", sold).await;
    let admin = world.context_of(firm, &world.admin(firm, "admin").await);
    let trader = world.person(firm, "trader@one.example").await;
    let buyer = world.context_of(firm, &trader);
    let version = world.catalogue.get(firm, "two-step").await.unwrap().version.to_string();
    Shop { world, firm, admin, trader, buyer, version }
}

fn coupon(code: &str, off: Off) -> Coupon {
    Coupon {
        code: code.to_owned(),
        off,
        slugs: BTreeSet::new(),
        starts_at: None,
        ends_at: None,
        most_uses: None,
        most_per_person: None,
        only: None,
        stackable: true,
        least: None,
        disabled: false,
    }
}

fn stripe() -> Provider {
    Provider::parse("stripe").unwrap()
}

fn code<T: std::fmt::Debug>(told: Result<T, AppError>) -> &'static str {
    match told {
        Err(AppError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

impl Shop {
    fn order(&self) -> Order {
        Order { slug: "two-step".to_owned(), version: self.version.clone(), ..Order::default() }
    }

    fn with(&self, coupons: &[&str]) -> Order {
        Order { coupons: coupons.iter().map(|code| (*code).to_owned()).collect(), ..self.order() }
    }

    async fn put(&self, change: ShelfChange) {
        self.world.catalogue.change_shelf(&self.admin, change).await.unwrap();
    }

    async fn buy_as(&self, buyer: &Context, key: &str, order: Order) -> Result<Purchase, AppError> {
        self.world.purchases.buy(buyer, &Key::parse(key).unwrap(), order).await
    }

    async fn buy(&self, key: &str, order: Order) -> Result<Purchase, AppError> {
        self.buy_as(&self.buyer, key, order).await
    }

    async fn happens(&self, purchase: &Purchase, event: PurchaseEvent) -> Result<Purchase, AppError> {
        let nobody = self.world.context(self.firm);
        let at = kernel::Clock::now(&*self.world.clock);
        self.world.purchases.happened(&nobody, purchase.id, &event, at).await
    }

    async fn pay(&self, purchase: &Purchase, payment: &str) -> Result<Purchase, AppError> {
        let (payment, amount) = (payment.to_owned(), purchase.fee);
        self.happens(purchase, PurchaseEvent::Captured { provider: stripe(), payment, amount }).await
    }

    /// Debits minus credits, in cents.
    async fn books(&self) -> BTreeMap<String, i64> {
        let books = self.world.store.books(self.firm, AsOf::default()).await.unwrap();
        assert!(books.balanced().unwrap());
        assert_eq!(self.world.store.money_faults(self.firm).await.unwrap(), []);
        let net = |it: &app::ledger::Balance| (it.account.to_string(), it.debits - it.credits);
        books.balances.iter().map(net).filter(|(_, net)| *net != 0).collect()
    }

    async fn used(&self, code: &str) -> (i32, i64) {
        let mut owner = self.world.database.superuser().await;
        let used = sqlx::query_as(
            "select used, (select count(*) from coupon_claims claim where claim.code = coupons.code and freed_at is null)
             from coupons where code = $1",
        );
        used.bind(code).fetch_one(&mut owner).await.unwrap()
    }
}

fn books(lines: &[(&str, i64)]) -> BTreeMap<String, i64> {
    lines.iter().map(|(account, net)| ((*account).to_owned(), *net)).collect()
}

#[tokio::test]
async fn a_hundred_claims_of_a_coupon_at_once_count_once_each_and_no_further_than_its_limit() {
    let shop = shop().await;
    let ten = Coupon { most_uses: Some(10), ..coupon("TEN", Off::Percent(Percent::from_whole(10))) };
    let once = Coupon { most_per_person: Some(1), ..coupon("ONCE", Off::Amount(usd("5"))) };
    let both = Coupon { most_uses: Some(10), ..coupon("OTHER", Off::Amount(usd("1"))) };
    for coupon in [ten, once, both] {
        shop.put(ShelfChange::Coupon(coupon)).await;
    }
    let mut buyers = Vec::new();
    for number in 0..10 {
        let person = shop.world.person(shop.firm, &format!("buyer{number}@one.example")).await;
        buyers.push(shop.world.context_of(shop.firm, &person));
    }
    // Both coupons, named in either order.
    let orders = (0..100).map(|number| {
        let coupons = if number % 2 == 0 { ["ten", "other"] } else { ["OTHER", "TEN "] };
        (number, shop.with(&coupons))
    });
    let told = join_all(orders.map(|(number, order)| {
        let (shop, buyer) = (&shop, &buyers[number % 10]);
        async move { shop.buy_as(buyer, &format!("k{number}"), order).await }
    }))
    .await;
    let mut bought = Vec::new();
    for told in told {
        match told {
            Ok(purchase) => bought.push(purchase),
            told => assert_eq!(code(told), "coupon_used_up"),
        }
    }
    assert_eq!(bought.len(), 10);
    assert_eq!((shop.used("TEN").await, shop.used("OTHER").await), ((10, 10), (10, 10)));
    for purchase in &bought {
        assert_eq!((purchase.fee, purchase.discount), (usd("440"), usd("50")));
    }

    // By one person, under a hundred keys and under one.
    let told = join_all((0..100).map(|number| {
        let (shop, order) = (&shop, shop.with(&["once"]));
        async move { shop.buy(&format!("o{}", number.min(50)), order).await }
    }))
    .await;
    let names: BTreeSet<_> = told.iter().flatten().map(|purchase| purchase.id).collect();
    assert_eq!(names.len(), 1);
    assert_eq!(shop.used("ONCE").await, (1, 1));

    // What is not paid is free for others, once, however many say so.
    let given_up = &bought[0];
    let ends = [PurchaseEvent::Expired, PurchaseEvent::Failed, PurchaseEvent::Expired];
    join_all((0..30).map(|number| shop.happens(given_up, ends[number % 3].clone()))).await;
    assert_eq!((shop.used("TEN").await, shop.used("OTHER").await), ((9, 9), (9, 9)));
    let next = shop.buy("next", shop.with(&["ten", "other"])).await.unwrap();
    assert_eq!(shop.used("TEN").await, (10, 10));
    // Paid, it stays used.
    shop.pay(&next, "p").await.unwrap();
    shop.happens(&next, PurchaseEvent::Expired).await.unwrap();
    assert_eq!(shop.used("TEN").await, (10, 10));
    shop.put(ShelfChange::CouponDisabled("ONCE".to_owned())).await;
    assert_eq!(code(shop.buy_as(&buyers[0], "late", shop.with(&["once"])).await), "coupon_refused");
    assert_eq!(code(shop.buy("no", shop.with(&["nothing"])).await), "coupon_refused");
    let again = shop
        .world
        .catalogue
        .change_shelf(&shop.admin, ShelfChange::Coupon(coupon("TEN", Off::Percent(Percent::from_whole(90)))));
    assert_eq!(code(again.await), "conflict");
}

#[tokio::test]
async fn prices_follow_country_group_and_tax_and_the_client_sets_none() {
    let shop = shop().await;
    let slug = || "two-step".to_owned();
    let india = Country::parse("IN").unwrap();
    let price = |country, group: Option<&str>, price| {
        let price = Price { country, group: group.map(str::to_owned), price };
        ShelfChange::Price { slug: slug(), price }
    };
    shop.put(price(Some(india), None, usd("200"))).await;
    shop.put(price(None, Some("friends"), usd("300"))).await;
    let nineteen = Tax { rate: Percent::from_whole(19), inclusive: false };
    shop.put(ShelfChange::Tax(Country::parse("DE"), Some(nineteen))).await;
    let ask = async |country: Option<&str>| {
        let country = country.map(|country| Country::parse(country).unwrap());
        let order = Order { country, ..shop.order() };
        shop.world.purchases.price(&shop.buyer, &order).await.unwrap().total.to_string()
    };
    assert_eq!((ask(None).await, ask(Some("IN")).await), ("490.00 USD".into(), "200.00 USD".into()));
    assert_eq!(ask(Some("DE")).await, "583.10 USD");
    shop.put(ShelfChange::Group(shop.trader.id, Some("friends".to_owned()))).await;
    assert_eq!((ask(None).await, ask(Some("IN")).await), ("300.00 USD".into(), "300.00 USD".into()));
    shop.put(ShelfChange::Group(shop.trader.id, None)).await;

    let order = Order { country: Country::parse("DE"), ..shop.order() };
    let bought = shop.buy("de", order).await.unwrap();
    assert_eq!((bought.fee, bought.tax), (usd("583.10"), usd("93.10")));
    // A price that changes later changes nothing that was ordered.
    shop.put(ShelfChange::Tax(Country::parse("DE"), None)).await;
    let paid = shop.pay(&bought, "p").await.unwrap();
    assert_eq!(paid.state, PurchaseState::Captured);
    let clearing = "provider_clearing:stripe";
    assert_eq!(
        shop.books().await,
        books(&[(clearing, 58_310), ("fee_income", -49_000), ("tax_payable", -9_310)])
    );
    let refund = |refund: &str, amount: &str| PurchaseEvent::Refunded {
        provider: stripe(),
        payment: "p".to_owned(),
        refund: refund.to_owned(),
        amount: usd(amount),
    };
    shop.happens(&bought, refund("r1", "100.01")).await.unwrap();
    let whole = shop.happens(&bought, refund("r2", "483.09")).await.unwrap();
    assert_eq!(whole.state, PurchaseState::Refunded);
    assert_eq!(shop.books().await, books(&[("fee_income", -49_000), ("refunds", 49_000)]));
    assert_eq!(code(shop.happens(&bought, refund("r3", "0.01")).await), "conflict");
    assert_eq!(code(shop.happens(&bought, refund("r2", "483.08")).await), "entry_id_reused");
    let history = shop.world.store.history(shop.firm, bought.id).await.unwrap();
    let what: Vec<_> = history.iter().map(|it| it.what).collect();
    assert_eq!(what, [Happening::Captured, Happening::RefundedInPart, Happening::RefundedInWhole]);
    // What nobody may set.
    let trader = shop.world.catalogue.change_shelf(&shop.buyer, price(None, None, usd("1")));
    assert!(matches!(trader.await, Err(AppError::Forbidden)));
}

#[tokio::test]
async fn a_hundred_reports_of_one_payment_are_one_challenge_one_entry_and_one_message() {
    let shop = shop().await;
    let bought = shop.buy("one", shop.order()).await.unwrap();
    assert_eq!(bought.state, PurchaseState::Created);
    let begun = PurchaseEvent::Begun { provider: stripe(), session: "cs_1".to_owned() };
    assert_eq!(shop.happens(&bought, begun).await.unwrap().state, PurchaseState::AwaitingPayment);
    let told = join_all((0..100).map(|number| {
        let (shop, bought) = (&shop, &bought);
        async move {
            // Noise of the provider in between.
            match number % 5 {
                3 => shop.happens(bought, PurchaseEvent::Expired).await,
                4 => shop.happens(bought, PurchaseEvent::Failed).await,
                _ => shop.pay(bought, "pi_1").await,
            }
        }
    }))
    .await;
    for told in told {
        told.unwrap();
    }
    let paid = shop.world.store.purchase(shop.firm, bought.id).await.unwrap().unwrap();
    assert_eq!((paid.state, paid.provider), (PurchaseState::Captured, Some(stripe())));
    assert_eq!(shop.books().await, books(&[("fee_income", -49_000), ("provider_clearing:stripe", 49_000)]));
    let unopened = shop.world.purchases.unopened(10).await.unwrap();
    assert_eq!(unopened.iter().map(|it| Some(it.challenge)).collect::<Vec<_>>(), [paid.challenge]);
    let mut owner = shop.world.database.superuser().await;
    let count: i64 = sqlx::query_scalar("select count(*) from outbox where topic = 'purchase.paid'")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    assert_eq!(count, 1);

    // Fulfilled when the account is open, and not before.
    assert_eq!(shop.world.purchases.fulfil_opened(&shop.world.context(shop.firm)).await.unwrap(), 0);
    let mut shard = Owner::take(&shop.world, 0).await;
    shard.open(&unopened[0]).await;
    let _proof = shard.commit().await.unwrap();
    assert_eq!(shop.world.purchases.fulfil_opened(&shop.world.context(shop.firm)).await.unwrap(), 1);
    assert_eq!(shop.world.purchases.fulfil_opened(&shop.world.context(shop.firm)).await.unwrap(), 0);
    let done = shop.world.purchases.get(&shop.buyer, bought.id).await.unwrap();
    assert_eq!((done.state, done.decided_at), (PurchaseState::Fulfilled, paid.decided_at));

    // Another purchase cannot be paid with the same payment.
    let other = shop.buy("two", shop.order()).await.unwrap();
    assert_eq!(code(shop.pay(&other, "pi_1").await), "conflict");
    assert_eq!(shop.books().await["fee_income"], -49_000, "nothing of it is posted");
    // Money for what was given up is money.
    shop.happens(&other, PurchaseEvent::Cancelled).await.unwrap();
    assert_eq!(shop.pay(&other, "pi_2").await.unwrap().state, PurchaseState::Captured);
    // Nobody pays in time.
    let third = shop.buy("three", shop.order()).await.unwrap();
    shop.world.clock.advance(OPEN_FOR);
    assert_eq!(shop.world.purchases.expire_stale(&shop.world.context(shop.firm)).await.unwrap(), 0);
    shop.world.clock.advance(Span::from_seconds(1));
    assert_eq!(shop.world.purchases.expire_stale(&shop.world.context(shop.firm)).await.unwrap(), 1);
    let third = shop.world.purchases.get(&shop.buyer, third.id).await.unwrap();
    assert_eq!(third.state, PurchaseState::Expired);
}

#[tokio::test]
async fn add_ons_make_another_version_and_a_failed_challenge_begins_anew_once() {
    let shop = shop().await;
    let addon = |code: &str, price, change| {
        let (name, code) = (code.to_owned(), code.to_owned());
        let addon = Addon { code, name, price, change };
        ShelfChange::Addon { slug: "two-step".to_owned(), addon, on_sale: true }
    };
    let ninety = AddonChange::Split { at_least: Percent::from_whole(90) };
    shop.put(addon("split90", AddonPrice::Percent(Percent::from_whole(20)), ninety)).await;
    shop.put(addon("again", AddonPrice::Amount(usd("50")), AddonChange::Resets { included: 1 })).await;
    let useless = AddonChange::Split { at_least: Percent::from_whole(80) };
    let useless = addon("useless", AddonPrice::Amount(usd("50")), useless);
    let refused = shop.world.catalogue.change_shelf(&shop.admin, useless).await;
    assert!(matches!(refused, Err(AppError::Invalid(_))));

    let order = Order { addons: vec!["split90".into(), "again".into()], ..shop.order() };
    let bought = shop.buy("one", order.clone()).await.unwrap();
    assert_eq!(bought.fee, usd("638"));
    assert_ne!(bought.version.as_str(), shop.version);
    assert_eq!(shop.buy("one", order).await.unwrap(), bought, "a retry is the same purchase");
    let unknown = Order { addons: vec!["nothing".into()], ..shop.order() };
    assert!(matches!(shop.buy("no", unknown).await, Err(AppError::Invalid(_))));
    let paid = shop.pay(&bought, "p1").await.unwrap();
    let unopened = shop.world.purchases.unopened(10).await.unwrap();
    assert_eq!(unopened[0].version, bought.version);
    let kept = shop.world.catalogue.version(shop.firm, bought.version.as_str()).await.unwrap();
    assert_eq!(kept.program.phases[1].payout.as_ref().unwrap().split, Percent::from_whole(90));

    // Not while it runs, and nobody else's.
    let reset = |of| Order { version: bought.version.to_string(), reset_of: of, ..shop.order() };
    let again = || reset(paid.challenge);
    assert_eq!(code(shop.buy("r0", again()).await), "reset_refused");
    let mut shard = Owner::take(&shop.world, 0).await;
    shard.quote("EURUSD", 110_000, 110_002);
    let account = shard.open(&unopened[0]).await;
    shard.buy(account, "EURUSD", 10).unwrap();
    shard.quote("EURUSD", 109_000, 109_002);
    let _proof = shard.commit().await.unwrap();
    let stranger = shop.world.context_of(shop.firm, &shop.world.person(shop.firm, "x@one.example").await);
    assert!(matches!(shop.buy_as(&stranger, "r", again()).await, Err(AppError::NotFound("challenge"))));
    assert_eq!(
        code(shop.buy("r1", Order { version: shop.version.clone(), ..again() }).await),
        "program_changed"
    );

    // A hundred ask at once; it was bought with the challenge and costs nothing.
    let told = join_all((0..100).map(|number| {
        let (shop, order) = (&shop, again());
        async move { shop.buy(&format!("again-{number}"), order).await }
    }))
    .await;
    let mut anew = Vec::new();
    for told in told {
        match told {
            Ok(purchase) => anew.push(purchase),
            told => assert_eq!(code(told), "reset_refused"),
        }
    }
    assert_eq!(anew.len(), 1);
    let anew = anew.remove(0);
    assert_eq!(anew.bought, Bought::Reset { of: paid.challenge.unwrap(), included: true });
    assert_eq!((anew.state, anew.fee, &anew.version), (PurchaseState::Captured, usd("0"), &bought.version));
    assert!(anew.challenge.is_some() && anew.challenge != paid.challenge);

    // The next one is not included, and has a price only if the firm sets one.
    let unopened = shop.world.purchases.unopened(10).await.unwrap();
    let account = shard.open(&unopened[0]).await;
    shard.buy(account, "EURUSD", 10).unwrap();
    shard.quote("EURUSD", 108_000, 108_002);
    let _proof = shard.commit().await.unwrap();
    assert_eq!(code(shop.buy("n1", reset(anew.challenge)).await), "reset_refused");
    let terms = ShelfChange::Terms { slug: "two-step".to_owned(), trial: false, reset_fee: Some(usd("99")) };
    shop.put(terms).await;
    let second = shop.buy("n2", reset(anew.challenge)).await.unwrap();
    assert_eq!((second.fee, second.state), (usd("99"), PurchaseState::Created));
    // Given up, it may be asked for again; what is then paid for the first is owed back.
    shop.happens(&second, PurchaseEvent::Cancelled).await.unwrap();
    let third = shop.buy("n3", reset(anew.challenge)).await.unwrap();
    assert_eq!(shop.pay(&second, "p2").await.unwrap().state, PurchaseState::Cancelled);
    assert_eq!(shop.pay(&third, "p3").await.unwrap().state, PurchaseState::Captured);
    let found = shop.books().await;
    assert_eq!((found["overpaid"], found["fee_income"]), (-9_900, -63_800 - 9_900));
}

#[tokio::test]
async fn everybody_has_a_trial_once_and_a_coupon_over_everything_is_income_let_off() {
    let shop = shop().await;
    shop.put(ShelfChange::Terms { slug: "two-step".to_owned(), trial: true, reset_fee: None }).await;
    let told = join_all((0..100).map(|number| {
        let (shop, order) = (&shop, shop.order());
        async move { shop.buy(&format!("t{}", number / 2), order).await }
    }))
    .await;
    let had: BTreeSet<_> = told.iter().flatten().map(|it| (it.id, it.state.word())).collect();
    assert_eq!(had.len(), 1);
    assert!(had.iter().all(|(_, state)| *state == "captured"));
    for told in told.into_iter().filter(Result::is_err) {
        assert_eq!(code(told), "trial_used");
    }
    assert_eq!(shop.books().await, BTreeMap::new(), "nothing was sold");

    shop.put(ShelfChange::Terms { slug: "two-step".to_owned(), trial: false, reset_fee: None }).await;
    shop.put(ShelfChange::Coupon(coupon("ALL", Off::Percent(Percent::WHOLE)))).await;
    let free = shop.buy("free", shop.with(&["all"])).await.unwrap();
    assert_eq!((free.state, free.fee), (PurchaseState::Captured, usd("0")));
    assert_eq!(shop.books().await, books(&[("discounts", 49_000), ("fee_income", -49_000)]));
    assert_eq!(shop.world.purchases.unopened(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn disputes_take_the_money_and_give_it_back() {
    let shop = shop().await;
    let bought = shop.buy("one", shop.order()).await.unwrap();
    let opened = || PurchaseEvent::DisputeOpened {
        provider: stripe(),
        dispute: "dp_1".to_owned(),
        amount: usd("490"),
        fee: Some(usd("15")),
    };
    let (won, lost) = (
        PurchaseEvent::DisputeWon { provider: stripe(), dispute: "dp_1".to_owned() },
        PurchaseEvent::DisputeLost { provider: stripe(), dispute: "dp_1".to_owned() },
    );
    // Before the payment is known nothing of it can be.
    assert_eq!(code(shop.happens(&bought, opened()).await), "conflict");
    shop.pay(&bought, "pi_1").await.unwrap();
    assert_eq!(code(shop.happens(&bought, won.clone()).await), "conflict");
    let told = join_all((0..20).map(|_| shop.happens(&bought, opened()))).await;
    assert!(told.into_iter().all(|told| told.unwrap().state == PurchaseState::Disputed));
    let taken = [
        ("disputes:stripe", 49_000),
        ("fee_income", -49_000),
        ("provider_clearing:stripe", -1_500),
        ("provider_fees:stripe", 1_500),
    ];
    assert_eq!(shop.books().await, books(&taken));
    let told = join_all(
        (0..20).map(|number| shop.happens(&bought, if number % 2 == 0 { won.clone() } else { lost.clone() })),
    )
    .await;
    let ends: BTreeSet<_> = told.into_iter().flatten().map(|it| it.state.word()).collect();
    assert_eq!(ends.len(), 1, "one of the two, once: {ends:?}");
    let found = shop.books().await;
    let clearing = found["provider_clearing:stripe"];
    assert_eq!(clearing + found.get("dispute_losses").copied().unwrap_or_default(), 47_500);
    assert!(!found.contains_key("disputes:stripe"));
}

#[tokio::test]
async fn whoever_changes_the_books_by_hand_is_found() {
    let shop = shop().await;
    shop.put(ShelfChange::Coupon(coupon("TEN", Off::Percent(Percent::from_whole(10))))).await;
    let bought = shop.buy("one", shop.with(&["ten"])).await.unwrap();
    shop.pay(&bought, "p").await.unwrap();
    let refund = PurchaseEvent::Refunded {
        provider: stripe(),
        payment: "p".to_owned(),
        refund: "r".to_owned(),
        amount: usd("1"),
    };
    shop.happens(&bought, refund).await.unwrap();
    let failed =
        PurchaseEvent::RefundFailed { provider: stripe(), refund: "r".to_owned(), reason: String::new() };
    shop.happens(&bought, failed).await.unwrap();
    shop.books().await;
    let mut owner = shop.world.database.superuser().await;
    let replica = "set session_replication_role = replica";
    sqlx::raw_sql(replica).execute(&mut owner).await.unwrap();
    for (change, back, say) in [
        (
            "update ledger_transfers set amount_minor = amount_minor + 1 where debit = 'provider_clearing:stripe' and credit = 'fee_income'",
            "update ledger_transfers set amount_minor = amount_minor - 1 where debit = 'provider_clearing:stripe' and credit = 'fee_income'",
            "money of a purchase that is another amount in the books",
        ),
        (
            "update ledger_transfers set debit = 'bank' where debit = 'provider_clearing:stripe' and credit = 'refunds'",
            "update ledger_transfers set debit = 'provider_clearing:stripe' where debit = 'bank'",
            "a reversal that does not take back what it reverses",
        ),
        (
            "update purchases set state = 'refunded'",
            "update purchases set state = 'captured'",
            "a purchase that is not where its last event led",
        ),
        (
            "update coupons set used = 0",
            "update coupons set used = 1",
            "a coupon that was used otherwise than it was claimed",
        ),
        (
            "update ledger_entries set lines = 9 where kind = 'reversal'",
            "update ledger_entries set lines = 1 where kind = 'reversal'",
            "an entry that has not the lines that it says",
        ),
        (
            "update purchase_events set id = gen_random_uuid() where what = 'captured'",
            "update purchase_events set id = (select id from ledger_entries where kind = 'capture') where what = 'captured'",
            "an entry of a purchase to which nothing has happened",
        ),
    ] {
        sqlx::raw_sql(change).execute(&mut owner).await.unwrap();
        let faults = shop.world.store.money_faults(shop.firm).await.unwrap();
        assert!(faults.iter().any(|fault| fault.say == say), "{change}: {faults:?}");
        sqlx::raw_sql(back).execute(&mut owner).await.unwrap();
        shop.books().await;
    }
}
