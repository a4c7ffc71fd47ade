//! Read rows follow from the truth: written bit by bit, made anew, or computed another way, they are the same.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{Owner, market};
use engine::Ticket;
use kernel::{AccountId, FirmId, PurchaseId, SeededRng, Side, Span};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use store::analytics::{Period, results_after, scores_after};
use testkit::{World, program};

/// The read tables with the columns that say something about the truth.
const TABLES: [(&str, &str); 4] = [
    (
        "account_results",
        "account_id, person_id, slug, phase, status, currency, initial_micros, balance_micros, opened_at, closed_at,
         next_fill, next_entry, next_verdict",
    ),
    ("account_scores", "account_id, period, starts, slug, phase, opened_at, realised_micros, ppm, closed"),
    (
        "account_symbols",
        "account_id, symbol, closed, wins, losses, won_micros, lost_micros, held_us, best_micros, worst_micros",
    ),
    ("business_days", "day, what, slug, phase, currency, count, amount"),
];

async fn dump(connection: &mut PgConnection, firm: FirmId, version: i32) -> Vec<String> {
    let mut all = Vec::new();
    for (table, columns) in TABLES {
        let sql = format!(
            "select '{table} ' || (row_to_json(x)::text) as line from
             (select {columns} from {table} where firm_id = '{firm}' and version = {version}) x order by 1"
        );
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.unwrap();
        all.extend(rows);
    }
    all
}

async fn project(world: &World, firm: FirmId, accounts: &[AccountId]) {
    let mut tx = world.store.begin(firm).await.unwrap();
    tx.project(accounts, &[], None).await.unwrap();
    let _proof = tx.commit().await.unwrap();
}

async fn project_purchases(world: &World, firm: FirmId) {
    let mut superuser = world.database.superuser().await;
    let ids: Vec<uuid::Uuid> =
        sqlx::query_scalar("select id from purchases").fetch_all(&mut superuser).await.unwrap();
    let purchases: Vec<PurchaseId> = ids.into_iter().map(PurchaseId::from_uuid).collect();
    let mut tx = world.store.begin(firm).await.unwrap();
    tx.project(&[], &purchases, None).await.unwrap();
    let _proof = tx.commit().await.unwrap();
}

async fn build(world: &World, firm: FirmId, most: i64) {
    world.store.begin_rebuild(firm).await.unwrap();
    while !world.store.rebuild_some(firm, most).await.unwrap() {}
    while !world.store.drop_old(firm, 100).await.unwrap() {}
}

/// Accounts that trade at random over some days, and their rows written after a random part of the commits.
async fn random_history(world: &World, firm: FirmId, seed: u64) -> Vec<AccountId> {
    let rng = SeededRng::new(seed);
    let pick = |below: u64| rng.next_u64() % below;
    let mut accounts = Vec::new();
    let mut owner = Owner::take(world, 0).await;
    let mut eurusd = 110_000_i64;
    owner.quote("EURUSD", eurusd, eurusd + 2);
    owner.quote("USDJPY", 150_000, 150_010);
    for number in 0..4_u64 {
        let trader = world.person(firm, &format!("trader-{number}@one.example")).await;
        let unopened = world.challenge(firm, &trader, "two-step").await;
        accounts.push(owner.open(&unopened).await);
    }
    for _ in 0..60 {
        for _ in 0..pick(6) {
            eurusd += i64::try_from(pick(400)).unwrap() - 200;
            owner.quote("EURUSD", eurusd, eurusd + 2);
            let account = accounts[usize::try_from(pick(4)).unwrap()];
            let open: Vec<Ticket> =
                owner.engine.account(account).unwrap().positions.keys().copied().collect();
            let symbol = if pick(4) == 0 { "USDJPY" } else { "EURUSD" };
            let side = if pick(2) == 0 { Side::Buy } else { Side::Sell };
            // A refusal is as good: the account may be over.
            let _ = match open.first() {
                Some(ticket) if pick(2) == 0 => owner.close(account, *ticket),
                _ => owner.act(account, market(symbol, side, i64::try_from(1 + pick(3)).unwrap())),
            };
        }
        owner.wait(Span::from_seconds(i32::try_from(pick(40_000)).unwrap()));
        owner.clock();
        owner.quote("USDJPY", 150_000, 150_010);
        let _proof = owner.commit().await.unwrap();
        for _ in 0..pick(3) {
            // Any of them, more than once, whether or not anything has happened to them.
            let some: Vec<AccountId> =
                accounts.iter().copied().filter(|_| pick(2) == 0).chain(accounts.first().copied()).collect();
            project(world, firm, &some).await;
        }
    }
    accounts.extend(
        owner.engine.accounts().map(|it| it.id).filter(|id| !accounts.contains(id)).collect::<Vec<_>>(),
    );
    accounts
}

#[tokio::test]
async fn rows_written_bit_by_bit_are_those_of_a_new_version() {
    for seed in [1, 2, 3] {
        let world = World::new().await;
        let firm = world.firm("one").await;
        world.publish(firm, "two-step", program("one")).await;
        build(&world, firm, 10).await;
        let accounts = random_history(&world, firm, seed).await;
        project(&world, firm, &accounts).await;
        project_purchases(&world, firm).await;
        let mut superuser = world.database.superuser().await;

        let bit_by_bit = dump(&mut superuser, firm, 1).await;
        assert!(bit_by_bit.len() > 30, "seed {seed}: {bit_by_bit:#?}");
        build(&world, firm, 1).await;
        assert_eq!(dump(&mut superuser, firm, 2).await, bit_by_bit, "seed {seed}");
        assert!(dump(&mut superuser, firm, 1).await.is_empty(), "the old version is dropped");
        computed_otherwise(&mut superuser, firm, 2).await;
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Symbol {
    closed: i64,
    wins: i64,
    won: i64,
    lost: i64,
    held: i64,
}

/// The scores and the sums by symbol, from every entry and every position at once.
async fn computed_otherwise(connection: &mut PgConnection, firm: FirmId, version: i32) {
    let mut scores: BTreeMap<(uuid::Uuid, String, String), (i64, i64)> = BTreeMap::new();
    let spans = "select to_char(at, 'YYYY-MM-DD') as day, to_char(at, 'IYYY-IW') as week, to_char(at, 'YYYY-MM') as month";
    let entries = sqlx::query(AssertSqlSafe(format!(
        "{spans}, account_id, kind, amount_micros from (select at at time zone 'UTC' as at, account_id, kind, amount_micros
         from balance_entries) entry"
    )));
    for row in entries.fetch_all(&mut *connection).await.unwrap() {
        let account: uuid::Uuid = row.get("account_id");
        let amount: i64 = row.get("amount_micros");
        scores.entry((account, "all".into(), String::new())).or_default();
        if ["profit", "commission"].contains(&row.get::<&str, _>("kind")) {
            for period in ["day", "week", "month"] {
                scores.entry((account, period.into(), row.get(period))).or_default().0 += amount;
            }
            scores.entry((account, "all".into(), String::new())).or_default().0 += amount;
        }
    }
    let mut symbols: BTreeMap<(uuid::Uuid, String), Symbol> = BTreeMap::new();
    let positions = sqlx::query(AssertSqlSafe(format!(
        "{spans}, account_id, symbol, result, held from
         (select closed_at at time zone 'UTC' as at, account_id, symbol, realised_micros - commission_micros as result,
                 (extract(epoch from closed_at) * 1000000)::bigint - (extract(epoch from opened_at) * 1000000)::bigint as held
          from positions where closed_at is not null) position"
    )));
    for row in positions.fetch_all(&mut *connection).await.unwrap() {
        let account: uuid::Uuid = row.get("account_id");
        for period in ["day", "week", "month"] {
            scores.entry((account, period.into(), row.get(period))).or_default().1 += 1;
        }
        scores.entry((account, "all".into(), String::new())).or_default().1 += 1;
        let symbol = symbols.entry((account, row.get("symbol"))).or_default();
        let result: i64 = row.get("result");
        symbol.closed += 1;
        symbol.wins += i64::from(result > 0);
        symbol.won += result.max(0);
        symbol.lost -= result.min(0);
        symbol.held += row.get::<i64, _>("held");
    }
    let initial: i64 = sqlx::query_scalar("select initial_micros from accounts limit 1")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    let rows = sqlx::query(
        "select account_id, period, case period when 'day' then to_char(starts, 'YYYY-MM-DD') when 'week'
                then to_char(starts, 'IYYY-IW') when 'month' then to_char(starts, 'YYYY-MM') else '' end as span,
                realised_micros, ppm, closed
         from account_scores where firm_id = $1 and version = $2",
    )
    .bind(firm.uuid())
    .bind(version)
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let mut stored = BTreeMap::new();
    for row in rows {
        let realised: i64 = row.get("realised_micros");
        let ppm = (i128::from(realised) * 1_000_000).div_euclid(i128::from(initial));
        assert_eq!(i128::from(row.get::<i64, _>("ppm")), ppm);
        let key = (row.get("account_id"), row.get::<String, _>("period"), row.get::<String, _>("span"));
        stored.insert(key, (realised, row.get::<i64, _>("closed")));
    }
    assert_eq!(stored, scores);
    let rows = sqlx::query("select * from account_symbols where firm_id = $1 and version = $2")
        .bind(firm.uuid())
        .bind(version)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let stored: BTreeMap<(uuid::Uuid, String), Symbol> = rows
        .into_iter()
        .map(|row| {
            let symbol = Symbol {
                closed: row.get("closed"),
                wins: row.get("wins"),
                won: row.get("won_micros"),
                lost: row.get("lost_micros"),
                held: row.get("held_us"),
            };
            ((row.get("account_id"), row.get("symbol")), symbol)
        })
        .collect();
    assert_eq!(stored, symbols);
}

#[tokio::test]
async fn rows_written_while_a_version_is_made_are_in_it() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    world.publish(firm, "two-step", program("one")).await;
    build(&world, firm, 10).await;
    let trader = world.person(firm, "trader@one.example").await;
    let mut owner = Owner::take(&world, 0).await;
    owner.quote("EURUSD", 110_000, 110_002);
    let mut accounts = Vec::new();
    for _ in 0..5 {
        accounts.push(owner.open(&world.challenge(firm, &trader, "two-step").await).await);
    }
    let _proof = owner.commit().await.unwrap();
    world.store.begin_rebuild(firm).await.unwrap();
    for step in 0_usize..7 {
        let _done = world.store.rebuild_some(firm, 1).await.unwrap();
        let account = accounts[(step * 2) % 5];
        owner.buy(account, "EURUSD", 1).unwrap();
        let ticket = *owner.engine.account(account).unwrap().positions.keys().next().unwrap();
        owner.close(account, ticket).unwrap();
        if step < 3 {
            accounts.push(owner.open(&world.challenge(firm, &trader, "two-step").await).await);
        }
        let _proof = owner.commit().await.unwrap();
        project(&world, firm, &accounts).await;
        project_purchases(&world, firm).await;
    }
    while !world.store.rebuild_some(firm, 1).await.unwrap() {}
    let mut superuser = world.database.superuser().await;
    let made = dump(&mut superuser, firm, 2).await;
    build(&world, firm, 100).await;
    assert_eq!(dump(&mut superuser, firm, 3).await, made);
}

#[tokio::test]
async fn what_was_projected_twice_is_not_a_change() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    world.publish(firm, "two-step", program("one")).await;
    build(&world, firm, 10).await;
    let accounts = random_history(&world, firm, 7).await;
    project(&world, firm, &accounts).await;
    let standing = world.store.standings().await.unwrap()[0];
    assert!(standing.version == 1 && !standing.building);
    project(&world, firm, &accounts).await;
    let mut tx = world.store.begin(firm).await.unwrap();
    let nobody = AccountId::from_uuid(uuid::Uuid::nil());
    let from = (standing.change, AccountId::from_uuid(uuid::Uuid::max()));
    assert!(results_after(&mut tx, 1, from, 100).await.unwrap().is_empty());
    let mut seen = BTreeSet::new();
    let mut after = (0, nobody, Period::All, 0);
    loop {
        let page = scores_after(&mut tx, 1, after, -100_000, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        after = (last.change, last.account, last.period, last.starts);
        seen.extend(page.iter().map(|row| (row.account, row.period, row.starts)));
    }
    let mut superuser = world.database.superuser().await;
    let count: i64 = sqlx::query_scalar("select count(*) from account_scores where version = 1")
        .fetch_one(&mut superuser)
        .await
        .unwrap();
    assert_eq!(i64::try_from(seen.len()).unwrap(), count);
}

#[tokio::test]
async fn what_no_message_told_of_is_found_and_made_good() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    world.publish(firm, "two-step", program("one")).await;
    build(&world, firm, 10).await;
    let accounts = random_history(&world, firm, 5).await;
    let (mut through, mut looked_at) = (None, 0);
    loop {
        through = world.store.project_behind(firm, through, 2).await.unwrap();
        looked_at += 2;
        if through.is_none() {
            break;
        }
    }
    assert!(looked_at >= accounts.len());
    project_purchases(&world, firm).await;
    let mut superuser = world.database.superuser().await;
    let made_good = dump(&mut superuser, firm, 1).await;
    build(&world, firm, 100).await;
    assert_eq!(dump(&mut superuser, firm, 2).await, made_good);
}
