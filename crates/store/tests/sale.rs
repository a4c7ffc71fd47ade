//! Selling on a real database: prices, coupons, add-ons, resets and trials, and what a purchase leaves in the books.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::{Owner, usd};
use crate::connected::{Connected, connected};
use app::catalogue::{Addon, AddonChange, AddonPrice, Country, Coupon, Off, Price, ShelfChange, Tax};
use app::identity::Person;
use app::ledger::{AsOf, LedgerStore as _, Provider};
use app::payments::checkouts::{CheckoutStore as _, Checkouts, Wish};
use app::payments::port::{self, NewCheckout, ProviderName, Reference};
use app::purchases::{
    Bought, Happening, OPEN_FOR, Order, Purchase, PurchaseEvent, PurchaseState, PurchaseStore as _, Purchases,
};
use app::{AppError, Context};
use engine::Key;
use futures_util::future::join_all;
use kernel::{Currency, FirmId, Money, Percent, Span};
use testkit::payments::Fault;
use testkit::payments::paypal::FakePaypal;
use testkit::payments::stripe::FakeStripe;
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

    let offered = async |of: Option<kernel::ChallengeId>| {
        let offer = shop.world.purchases.reset_offer(&shop.buyer, of.unwrap()).await.unwrap();
        (offer.included, offer.fee)
    };
    assert_eq!(offered(paid.challenge).await, (1, Some(usd("0"))));
    let not_theirs = shop.world.purchases.reset_offer(&stranger, paid.challenge.unwrap()).await;
    assert!(matches!(not_theirs, Err(AppError::NotFound("challenge"))));

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

    assert_eq!(offered(paid.challenge).await, (0, None), "it has begun anew");

    // The next one is not included, and has a price only if the firm sets one.
    let unopened = shop.world.purchases.unopened(10).await.unwrap();
    let account = shard.open(&unopened[0]).await;
    shard.buy(account, "EURUSD", 10).unwrap();
    shard.quote("EURUSD", 108_000, 108_002);
    let _proof = shard.commit().await.unwrap();
    assert_eq!(code(shop.buy("n1", reset(anew.challenge)).await), "reset_refused");
    let terms = ShelfChange::Terms { slug: "two-step".to_owned(), trial: false, reset_fee: Some(usd("99")) };
    shop.put(terms).await;
    assert_eq!(offered(anew.challenge).await, (0, Some(usd("99"))));
    let second = shop.buy("n2", reset(anew.challenge)).await.unwrap();
    assert_eq!(offered(anew.challenge).await, (0, None), "one waits for its payment");
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
async fn the_shelf_shows_buyers_their_prices_and_the_firm_all_of_it() {
    let shop = shop().await;
    let addon = |code: &str, price, change, on_sale| {
        let addon = Addon { code: code.to_owned(), name: format!("Named {code}"), price, change };
        ShelfChange::Addon { slug: "two-step".to_owned(), addon, on_sale }
    };
    let fifth = AddonPrice::Percent(Percent::from_whole(20));
    let ninety = AddonChange::Split { at_least: Percent::from_whole(90) };
    let again = AddonChange::Resets { included: 1 };
    shop.put(addon("split90", fifth, ninety, true)).await;
    shop.put(addon("again", AddonPrice::Amount(usd("50")), again, true)).await;
    shop.put(addon("gone", AddonPrice::Amount(usd("50")), again, false)).await;
    let price = |country: Option<&str>, group: Option<&str>, price| Price {
        country: country.map(|code| Country::parse(code).unwrap()),
        group: group.map(str::to_owned),
        price,
    };
    let eur = |text| Money::parse(text, Currency::parse("EUR").unwrap()).unwrap();
    let slug = || "two-step".to_owned();
    shop.put(ShelfChange::Price { slug: slug(), price: price(None, None, eur("450")) }).await;
    shop.put(ShelfChange::Price { slug: slug(), price: price(None, Some("friends"), usd("400")) }).await;
    let german = Country::parse("DE");
    let tax = Tax { rate: Percent::from_whole(19), inclusive: false };
    shop.put(ShelfChange::Tax(german, Some(tax))).await;

    let visitor = shop.world.context(shop.firm);
    let look = async |whose: &Context, country, currency: Option<&str>| {
        let currency = currency.map(|code| Currency::parse(code).unwrap());
        shop.world.purchases.on_shelf(whose, "two-step", country, currency).await
    };
    let seen = look(&visitor, None, None).await.unwrap();
    assert_eq!((seen.price, seen.tax), (usd("490"), Tax::NONE));
    assert_eq!(seen.currencies.iter().map(|it| it.code()).collect::<Vec<_>>(), ["USD", "EUR"]);
    let told: Vec<_> = seen.addons.iter().map(|it| (it.addon.code.as_str(), it.price)).collect();
    assert_eq!(told, [("again", usd("50")), ("split90", usd("98"))]);
    assert!(seen.addons[0].changes.is_empty() && !seen.addons[1].changes.is_empty());

    // In euro the amount in dollars is not for sale, and the share is one of the euro price.
    let seen = look(&visitor, german, Some("EUR")).await.unwrap();
    assert_eq!((seen.price, seen.tax), (eur("450"), tax));
    let told: Vec<_> = seen.addons.iter().map(|it| (it.addon.code.as_str(), it.price)).collect();
    assert_eq!(told, [("split90", eur("90"))]);
    assert!(matches!(look(&visitor, None, Some("CHF")).await, Err(AppError::Invalid(_))));

    // A group has its own price, and only those who belong to it see it.
    shop.put(ShelfChange::Group(shop.trader.id, Some("friends".to_owned()))).await;
    assert_eq!(look(&shop.buyer, None, None).await.unwrap().price, usd("400"));
    assert_eq!(look(&visitor, None, None).await.unwrap().price, usd("490"));

    // The firm sees what is no longer on sale too; nobody else sees its shelf.
    let shelf = shop.world.catalogue.whole_shelf(&shop.admin, "two-step").await.unwrap();
    let all: Vec<_> = shelf.addons.iter().map(|it| (it.addon.code.as_str(), it.on_sale)).collect();
    assert_eq!(all, [("again", true), ("gone", false), ("split90", true)]);
    assert_eq!(shelf.prices.len(), 2);
    let refused = shop.world.catalogue.whole_shelf(&shop.buyer, "two-step").await;
    assert!(matches!(refused, Err(AppError::Forbidden)));
    let taxes = shop.world.catalogue.taxes(&shop.admin).await.unwrap();
    assert_eq!(taxes.iter().map(|it| (it.country, it.tax)).collect::<Vec<_>>(), [(german, tax)]);
    let groups = shop.world.catalogue.groups(&shop.admin, None, 10).await.unwrap();
    assert_eq!(groups[0].person, shop.trader.id);
    assert!(shop.world.catalogue.groups(&shop.admin, Some(shop.trader.id), 10).await.unwrap().is_empty());
    let names = shop.world.purchases.addon_names(shop.firm, "two-step").await.unwrap();
    assert_eq!(names["gone"], "Named gone");
}

#[tokio::test]
async fn coupons_are_listed_with_their_uses_and_a_purchase_given_up_frees_its_own() {
    let shop = shop().await;
    for number in 0..5 {
        shop.put(ShelfChange::Coupon(coupon(&format!("C{number}"), Off::Percent(Percent::from_whole(10)))))
            .await;
        shop.world.clock.advance(Span::from_seconds(60));
    }
    let bought = shop.buy("one", shop.with(&["c3"])).await.unwrap();
    let list = async |after: Option<&str>| {
        let found = shop.world.catalogue.coupons(&shop.admin, after, 3).await.unwrap();
        found.into_iter().map(|it| (it.coupon.code, it.used)).collect::<Vec<_>>()
    };
    let row = |code: &str, used| (code.to_owned(), used);
    assert_eq!(list(None).await, [row("C4", 0), row("C3", 1), row("C2", 0)]);
    assert_eq!(list(Some("C2")).await, [row("C1", 0), row("C0", 0)]);
    shop.world.purchases.cancel(&shop.buyer, bought.id).await.unwrap();
    assert_eq!(list(None).await[1], row("C3", 0));
    shop.put(ShelfChange::CouponDisabled("C3".to_owned())).await;
    let found = shop.world.catalogue.coupons(&shop.admin, None, 3).await.unwrap();
    assert!(found[1].coupon.disabled);
    let refused = shop.world.catalogue.coupons(&shop.buyer, None, 3).await;
    assert!(matches!(refused, Err(AppError::Forbidden)));
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

/// A shop whose buyers pay on pages of Stripe and PayPal.
struct Pages {
    shop: Shop,
    stripe: FakeStripe,
    paypal: FakePaypal,
    to_paypal: Arc<dyn port::Provider>,
    checkouts: Checkouts,
}

async fn pages() -> Pages {
    let shop = shop().await;
    let ninety =
        Coupon { most_per_person: Some(1), ..coupon("NINETY", Off::Percent(Percent::from_whole(90))) };
    shop.put(ShelfChange::Coupon(ninety)).await;
    let Connected { stripe, paypal, to_paypal, providers, .. } = connected(&shop.world, shop.firm).await;
    let (clock, rng) = (shop.world.clock.clone(), shop.world.rng.clone());
    let store = || shop.world.store.clone();
    let purchases = Arc::new(Purchases::new(store(), store(), clock.clone(), rng.clone()));
    let checkouts = Checkouts::new(store(), purchases, providers, clock, rng);
    Pages { shop, stripe, paypal, to_paypal, checkouts }
}

impl Pages {
    /// The provider's name of the page on which the purchase is paid.
    async fn open(&self, purchase: &Purchase, provider: ProviderName) -> String {
        let wish = Wish { purchase: purchase.id, provider, public_url: "https://one.example" };
        self.checkouts.open(&self.shop.buyer, &wish).await.unwrap();
        let open = self.shop.world.store.open_checkout(self.shop.firm, purchase.id).await.unwrap().unwrap();
        open.session.unwrap()
    }

    async fn follow(&self, order: &str) {
        let nobody = self.shop.world.context(self.shop.firm);
        self.checkouts.follow(&nobody, ProviderName::Paypal, order).await.unwrap();
    }

    /// Whoever looks after pages, so much later.
    async fn look_after(&self, seconds: i32) -> usize {
        self.shop.world.clock.advance(Span::from_seconds(seconds));
        let context = |firm| self.shop.world.context(firm);
        self.checkouts.look_after(10, &context).await.unwrap()
    }

    async fn state(&self, purchase: &Purchase) -> PurchaseState {
        self.shop.world.store.purchase(self.shop.firm, purchase.id).await.unwrap().unwrap().state
    }

    fn captures(&self) -> usize {
        self.paypal.counts()[1]
    }

    fn end(&self) {
        assert_eq!((self.stripe.wrong(), self.paypal.wrong()), (vec![], vec![]));
        assert_eq!((self.stripe.faults_waiting(), self.paypal.faults_waiting()), (0, 0));
    }
}

#[tokio::test]
async fn what_a_coupon_let_off_is_let_off_once_however_many_pages_were_left_open() {
    let pages = pages().await;
    let shop = &pages.shop;
    let mut given_up = Vec::new();
    for number in 0..3 {
        let bought = shop.buy(&format!("one-{number}"), shop.with(&["ninety"])).await.unwrap();
        let session = pages.open(&bought, ProviderName::Stripe).await;
        let cancelled = pages.checkouts.cancel(&shop.buyer, bought.id).await.unwrap();
        assert_eq!(cancelled.state, PurchaseState::Cancelled);
        assert_eq!(pages.stripe.thing(&session)["status"], "expired", "nobody can pay there any more");
        pages.checkouts.cancel(&shop.buyer, bought.id).await.unwrap();
        given_up.push(bought);
    }
    let kept = shop.buy("kept", shop.with(&["ninety"])).await.unwrap();
    assert_eq!(shop.pay(&kept, "pi_kept").await.unwrap().state, PurchaseState::Captured);
    // Money that comes all the same is owed back.
    for (number, bought) in given_up.iter().enumerate() {
        let paid = shop.pay(bought, &format!("pi_{number}")).await.unwrap();
        assert_eq!((paid.state, paid.challenge), (PurchaseState::Cancelled, None));
    }
    assert_eq!(shop.used("NINETY").await, (1, 1));
    let found = shop.books().await;
    assert_eq!((found["overpaid"], found["fee_income"]), (-3 * 4_900, -49_000));
    assert_eq!(shop.world.purchases.unopened(10).await.unwrap().len(), 1);
    // What was paid before it was taken back stays paid.
    let paid = shop.buy("paid", shop.order()).await.unwrap();
    let session = pages.open(&paid, ProviderName::Stripe).await;
    pages.stripe.pay(&session);
    assert_eq!(code(pages.checkouts.cancel(&shop.buyer, paid.id).await), "payment_settled");
    assert_eq!(pages.state(&paid).await, PurchaseState::Captured);
    pages.end();
}

#[tokio::test]
async fn nothing_is_taken_on_a_page_that_was_left_or_for_what_is_paid() {
    let pages = pages().await;
    let shop = &pages.shop;
    // They change their mind, and agree on the page that they left.
    let bought = shop.buy("left", shop.order()).await.unwrap();
    let left = pages.open(&bought, ProviderName::Paypal).await;
    pages.open(&bought, ProviderName::Stripe).await;
    pages.paypal.approve(&left);
    pages.follow(&left).await;
    assert_eq!((pages.captures(), pages.state(&bought).await), (0, PurchaseState::AwaitingPayment));
    // They take it back.
    let cancelled = shop.buy("cancelled", shop.order()).await.unwrap();
    let order = pages.open(&cancelled, ProviderName::Paypal).await;
    pages.checkouts.cancel(&shop.buyer, cancelled.id).await.unwrap();
    pages.paypal.approve(&order);
    pages.follow(&order).await;
    assert_eq!((pages.captures(), pages.state(&cancelled).await), (0, PurchaseState::Cancelled));
    // It was paid otherwise meanwhile.
    let paid = shop.buy("paid", shop.order()).await.unwrap();
    let order = pages.open(&paid, ProviderName::Paypal).await;
    shop.pay(&paid, "pi_1").await.unwrap();
    pages.paypal.approve(&order);
    pages.follow(&order).await;
    assert_eq!(pages.captures(), 0);
    // Of a page whose opening was never answered the purchase tells.
    let reference = |text: &str| Reference::parse(text).unwrap();
    let unknown = async |attempt: &str, purchase: &Purchase| {
        let new = NewCheckout {
            attempt: reference(attempt),
            purchase: reference(&purchase.id.to_string()),
            price: purchase.fee,
            title: "Two steps".to_owned(),
            email: None,
            success_url: "https://one.example/done".to_owned(),
            cancel_url: "https://one.example/back".to_owned(),
            expires_at: None,
        };
        let order = pages.to_paypal.open_checkout(&new).await.unwrap().id;
        pages.paypal.approve(&order);
        pages.follow(&order).await;
    };
    unknown("lost-1", &paid).await;
    assert_eq!(pages.captures(), 0);
    let open = shop.buy("open", shop.order()).await.unwrap();
    unknown("lost-2", &open).await;
    assert_eq!((pages.captures(), pages.state(&open).await), (1, PurchaseState::Captured));
    pages.end();
}

#[tokio::test]
async fn a_page_that_nobody_pays_on_ends_by_time_whether_its_provider_says_so_or_not() {
    let pages = pages().await;
    let shop = &pages.shop;
    let silent = shop.buy("silent", shop.with(&["ninety"])).await.unwrap();
    pages.open(&silent, ProviderName::Paypal).await;
    assert_eq!(pages.look_after(3_599).await, 1);
    assert_eq!(pages.state(&silent).await, PurchaseState::AwaitingPayment, "there is time left");
    assert_eq!(pages.look_after(302).await, 1);
    assert_eq!(pages.state(&silent).await, PurchaseState::Expired);
    assert_eq!(shop.used("NINETY").await, (0, 0), "what it claimed is free");
    assert_eq!(pages.look_after(7_200).await, 0, "nobody looks after it any more");
    // The provider has forgotten it.
    for forgotten in ["one", "two"] {
        let bought = shop.buy(forgotten, shop.order()).await.unwrap();
        pages.open(&bought, ProviderName::Paypal).await;
        pages.paypal.meets("GET /v2/checkout/orders", Fault::Fail(404));
        pages.look_after(121).await;
        assert_eq!(pages.state(&bought).await, PurchaseState::AwaitingPayment, "that may be a mistake");
        pages.paypal.meets("GET /v2/checkout/orders", Fault::Fail(404));
        if forgotten == "one" {
            pages.look_after(3_600).await;
            assert_eq!(pages.state(&bought).await, PurchaseState::Expired);
        } else {
            // Its buyer goes elsewhere.
            shop.world.clock.advance(Span::from_seconds(3_600));
            pages.open(&bought, ProviderName::Stripe).await;
        }
    }
    pages.end();
}

#[tokio::test]
async fn a_declined_card_is_not_the_end_of_a_purchase() {
    let pages = pages().await;
    let shop = &pages.shop;
    let bought = shop.buy("one", shop.order()).await.unwrap();
    let order = pages.open(&bought, ProviderName::Paypal).await;
    pages.paypal.approve(&order);
    pages.paypal.meets("POST /v2/checkout/orders", Fault::Decline("INSTRUMENT_DECLINED"));
    pages.follow(&order).await;
    assert_eq!((pages.captures(), pages.state(&bought).await), (0, PurchaseState::AwaitingPayment));
    // They choose another one on the same page.
    pages.paypal.approve(&order);
    pages.follow(&order).await;
    assert_eq!((pages.captures(), pages.state(&bought).await), (1, PurchaseState::Captured));
    // Whoever chooses none has until the page ends.
    let bought = shop.buy("two", shop.order()).await.unwrap();
    let order = pages.open(&bought, ProviderName::Paypal).await;
    pages.paypal.approve(&order);
    pages.paypal.meets("POST /v2/checkout/orders", Fault::Decline("INSTRUMENT_DECLINED"));
    pages.follow(&order).await;
    pages.look_after(3_901).await;
    assert_eq!(pages.state(&bought).await, PurchaseState::Expired);
    pages.end();
}
