use kernel::Span;
use proptest::prelude::*;

use super::*;

fn in_currency(code: &str, minor: i64) -> Money {
    Money::from_minor(minor, Currency::parse(code).unwrap())
}

fn usd(minor: i64) -> Money {
    in_currency("USD", minor)
}

fn now() -> Timestamp {
    Timestamp::parse("2026-01-05T10:00:00Z").unwrap()
}

fn buyer() -> PersonId {
    PersonId::derived(&[b"buyer"])
}

fn percent(text: &str) -> Percent {
    Percent::parse(text).unwrap()
}

fn basket(fee: i64) -> Basket {
    Basket {
        slug: "two-step".to_owned(),
        item: Item::Challenge,
        buyer: buyer(),
        country: None,
        group: None,
        currency: None,
        fee: usd(fee),
        prices: Vec::new(),
        reset_fee: None,
        trial: false,
        addons: Vec::new(),
        coupons: Vec::new(),
        tax: Tax::NONE,
    }
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

fn addon(code: &str, price: AddonPrice) -> Addon {
    let change = AddonChange::Resets { included: 1 };
    Addon { code: code.to_owned(), name: code.to_owned(), price, change }
}

fn with(coupons: &[Coupon]) -> Basket {
    let coupons = coupons.iter().map(|coupon| (coupon.clone(), Used::default())).collect();
    Basket { coupons, ..basket(49_000) }
}

fn total(basket: &Basket) -> i64 {
    quote(basket, now()).unwrap().total.minor()
}

fn refused(basket: &Basket) -> &'static str {
    match quote(basket, now()) {
        Err(NotForSale::Coupon { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_price_that_names_most_of_the_buyer_holds() {
    let price = |country: Option<&str>, group: Option<&str>, price| Price {
        country: country.map(|country| Country::parse(country).unwrap()),
        group: group.map(str::to_owned),
        price,
    };
    let prices = vec![
        price(Some("IN"), None, usd(20_000)),
        price(None, Some("vip"), usd(30_000)),
        price(Some("IN"), Some("vip"), usd(10_000)),
        price(None, None, in_currency("EUR", 45_000)),
        price(Some("DE"), None, in_currency("EUR", 44_000)),
    ];
    let ask = |country: Option<&str>, group: Option<&str>, currency: Option<&str>| {
        let basket = Basket {
            country: country.map(|country| Country::parse(country).unwrap()),
            group: group.map(str::to_owned),
            currency: currency.map(|code| Currency::parse(code).unwrap()),
            prices: prices.clone(),
            ..basket(49_000)
        };
        quote(&basket, now()).map(|quote| quote.total.to_string())
    };
    for (country, group, currency, price) in [
        (None, None, None, "490.00 USD"),
        (Some("FR"), None, None, "490.00 USD"),
        (Some("IN"), None, None, "200.00 USD"),
        (Some("FR"), Some("vip"), None, "300.00 USD"),
        (Some("IN"), Some("vip"), None, "100.00 USD"),
        (Some("IN"), Some("other"), None, "200.00 USD"),
        (None, None, Some("EUR"), "450.00 EUR"),
        (Some("DE"), None, Some("EUR"), "440.00 EUR"),
        (Some("DE"), None, None, "490.00 USD"),
    ] {
        assert_eq!(ask(country, group, currency).unwrap(), price);
    }
    let gbp = Currency::parse("GBP").unwrap();
    assert_eq!(ask(None, None, Some("GBP")), Err(NotForSale::Currency(gbp)));
    for bad in ["", "de", "DEU", "D1", "ÄÖ"] {
        assert_eq!(Country::parse(bad), None, "{bad}");
    }
}

#[test]
fn coupons_hold_when_for_whom_and_for_what_they_say() {
    let ten = || coupon("TEN", Off::Percent(percent("10")));
    assert_eq!(total(&with(&[ten()])), 44_100);
    let hour = Span::from_seconds(3_600);
    let (before, after) = (now().before(hour).unwrap(), now().after(hour).unwrap());
    let one = |coupon: Coupon| with(&[coupon]);
    assert_eq!(refused(&one(Coupon { starts_at: Some(after), ..ten() })), "is not valid yet");
    assert_eq!(refused(&one(Coupon { ends_at: Some(before), ..ten() })), "is no longer valid");
    assert_eq!(refused(&one(Coupon { ends_at: Some(now()), ..ten() })), "is no longer valid");
    assert_eq!(total(&one(Coupon { starts_at: Some(now()), ends_at: Some(after), ..ten() })), 44_100);
    assert_eq!(refused(&one(Coupon { disabled: true, ..ten() })), "is no longer valid");
    let other = PersonId::derived(&[b"other"]);
    assert_eq!(refused(&one(Coupon { only: Some(other), ..ten() })), "is somebody else's");
    let slugs = |slug: &str| BTreeSet::from([slug.to_owned()]);
    assert_eq!(refused(&one(Coupon { slugs: slugs("one-step"), ..ten() })), "is for another program");
    assert_eq!(total(&one(Coupon { slugs: slugs("two-step"), only: Some(buyer()), ..ten() })), 44_100);
    assert_eq!(refused(&one(Coupon { least: Some(usd(49_001)), ..ten() })), "is for dearer purchases");
    assert_eq!(total(&one(Coupon { least: Some(usd(49_000)), ..ten() })), 44_100);
    let euros = Off::Amount(in_currency("EUR", 100));
    assert_eq!(refused(&one(coupon("E", euros))), "is in another currency");
    for (used, holds) in [(0, true), (2, true), (3, false), (4, false)] {
        for by_person in [false, true] {
            let (most_uses, most_per_person) = if by_person { (None, Some(3)) } else { (Some(3), None) };
            let mut basket = one(Coupon { most_uses, most_per_person, ..ten() });
            basket.coupons[0].1 =
                if by_person { Used { all: 9, own: used } } else { Used { all: used, own: 0 } };
            assert_eq!(quote(&basket, now()).is_ok(), holds);
        }
    }
    let alone = Coupon { stackable: false, ..coupon("ALONE", Off::Percent(percent("50"))) };
    assert_eq!(total(&one(alone.clone())), 24_500);
    assert_eq!(refused(&with(&[ten(), alone])), "cannot be used with another");
    assert_eq!(quote(&with(&[ten(), ten()]), now()), Err(NotForSale::Twice("TEN".to_owned())));
    // Percentages add up, amounts come after them, and nothing goes below zero.
    let fifty = coupon("FIFTY", Off::Percent(percent("50")));
    let amount = coupon("A", Off::Amount(usd(10_000)));
    assert_eq!(total(&with(&[ten(), fifty.clone(), amount.clone()])), 49_000 * 4 / 10 - 10_000);
    let most = coupon("MOST", Off::Percent(percent("99.9")));
    assert_eq!(total(&with(&[fifty, most, amount])), 0);
}

#[test]
fn a_reset_a_trial_and_add_ons_cost_what_they_are_for() {
    let reset =
        |included| Basket { item: Item::Reset { included }, reset_fee: Some(usd(9_900)), ..basket(49_000) };
    assert_eq!((total(&reset(false)), total(&reset(true))), (9_900, 0));
    let none = Basket { reset_fee: None, ..reset(false) };
    assert_eq!(quote(&none, now()), Err(NotForSale::Reset));
    assert_eq!(total(&Basket { trial: true, ..basket(49_000) }), 0);

    let addons = vec![
        addon("split", AddonPrice::Percent(percent("20"))),
        addon("days", AddonPrice::Amount(usd(1_001))),
    ];
    let full = Basket { addons: addons.clone(), ..basket(49_000) };
    let told = quote(&full, now()).unwrap();
    let lines: Vec<_> = told.lines.iter().map(|line| (line.what.as_str(), line.amount.minor())).collect();
    assert_eq!(lines, [("program", 49_000), ("addon", 1_001), ("addon", 9_800)]);
    assert_eq!(told.total, usd(59_801));
    for bare in [Basket { trial: true, ..full.clone() }, Basket { addons: addons.clone(), ..reset(false) }] {
        assert_eq!(quote(&bare, now()), Err(NotForSale::NothingToAdd));
    }
    let twice = Basket { addons: [&addons[..], &addons[..1]].concat(), ..basket(49_000) };
    assert_eq!(quote(&twice, now()), Err(NotForSale::Twice("split".to_owned())));
    let euros = vec![addon("e", AddonPrice::Amount(in_currency("EUR", 1)))];
    assert_eq!(quote(&Basket { addons: euros, ..basket(1) }, now()), Err(NotForSale::Addon("e".to_owned())));
}

#[test]
fn tax_is_inside_or_on_top() {
    let tax = |rate: &str, inclusive| {
        let tax = Tax { rate: percent(rate), inclusive };
        let told = quote(&Basket { tax, ..basket(11_900) }, now()).unwrap();
        (told.tax.minor(), told.total.minor())
    };
    assert_eq!(tax("19", true), (1_900, 11_900));
    assert_eq!(tax("19", false), (2_261, 14_161));
    assert_eq!(tax("0", false), (0, 11_900));
    // Half a cent goes to the even one.
    let tax = Tax { rate: percent("5"), inclusive: false };
    for (fee, cents) in [(10, 0), (30, 2), (50, 2), (70, 4)] {
        assert_eq!(quote(&Basket { tax, ..basket(fee) }, now()).unwrap().tax.minor(), cents, "{fee}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_wraps_nowhere() {
    let huge = Basket { addons: vec![addon("a", AddonPrice::Amount(usd(i64::MAX)))], ..basket(i64::MAX) };
    assert_eq!(quote(&huge, now()), Err(NotForSale::Overflow(Overflow)));
    let tax = Tax { rate: Percent::WHOLE, inclusive: false };
    assert_eq!(quote(&Basket { tax, ..basket(i64::MAX) }, now()), Err(NotForSale::Overflow(Overflow)));
}

fn any_basket() -> impl Strategy<Value = Basket> {
    let off = prop_oneof![
        (1_i64..=1_000_000).prop_map(|share| Off::Percent(Percent::of(share, 1_000_000).unwrap())),
        (1_i64..60_000).prop_map(|minor| Off::Amount(usd(minor))),
    ];
    let price = prop_oneof![
        (1_i64..=1_000_000).prop_map(|share| AddonPrice::Percent(Percent::of(share, 1_000_000).unwrap())),
        (0_i64..60_000).prop_map(|minor| AddonPrice::Amount(usd(minor))),
    ];
    let coupons = proptest::collection::vec(off, 0..5);
    let addons = proptest::collection::vec(price, 0..4);
    (0_i64..10_000_000, coupons, addons, 0_i64..=1_000_000, any::<bool>()).prop_map(
        |(fee, coupons, addons, rate, inclusive)| Basket {
            coupons: (0..)
                .zip(coupons)
                .map(|(n, off)| (coupon(&format!("C{n}"), off), Used::default()))
                .collect(),
            addons: (0..).zip(addons).map(|(n, price)| addon(&format!("A{n}"), price)).collect(),
            tax: Tax { rate: Percent::of(rate, 1_000_000).unwrap(), inclusive },
            ..basket(fee)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn lines_add_up_and_nothing_goes_below_zero(basket in any_basket()) {
        let told = quote(&basket, now()).unwrap();
        let sum = |tax: bool| -> i64 {
            told.lines.iter().filter(|line| (line.what == "tax") == tax).map(|line| line.amount.minor()).sum()
        };
        let net = told.list.minor() - told.discount.minor();
        prop_assert_eq!(sum(false), net);
        prop_assert_eq!(sum(true), told.tax.minor());
        prop_assert_eq!(told.total.minor(), if basket.tax.inclusive { net } else { net + told.tax.minor() });
        prop_assert!(told.total.minor() >= 0 && told.discount.minor() >= 0);
        prop_assert!(told.tax.minor() >= 0 && told.tax.minor() <= told.total.minor());
        prop_assert!(told.discount.minor() <= told.list.minor());
    }

    #[test]
    fn the_order_of_add_ons_and_coupons_changes_nothing(basket in any_basket(), turn in 0_usize..5) {
        let mut other = basket.clone();
        other.coupons.reverse();
        other.addons.reverse();
        if !other.coupons.is_empty() {
            let turn = turn % other.coupons.len();
            other.coupons.rotate_left(turn);
        }
        prop_assert_eq!(quote(&other, now()), quote(&basket, now()));
    }

    #[test]
    fn a_coupon_more_never_makes_it_dearer_and_an_add_on_more_never_cheaper(basket in any_basket()) {
        let all = quote(&basket, now()).unwrap();
        let mut fewer = basket.clone();
        if fewer.coupons.pop().is_some() {
            prop_assert!(quote(&fewer, now()).unwrap().total.minor() >= all.total.minor());
        }
        let mut plainer = Basket { coupons: Vec::new(), ..basket };
        let full = quote(&plainer, now()).unwrap();
        if plainer.addons.pop().is_some() {
            prop_assert!(quote(&plainer, now()).unwrap().total.minor() <= full.total.minor());
        }
    }
}
