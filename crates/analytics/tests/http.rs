//! The server of the role, its boards and its consumer, over a real store.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on stops")]

#[path = "../../store/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use analytics::v1::access::{ACCESS, Access};
use analytics::{Analytics, Parts, Projection};
use app::Role;
use app::cache::Cache;
use app::events::{Consumer, Message};
use app::identity::{Password, Person, Registration};
use common::{Owner, market, story};
use engine::Ticket;
use kernel::{AccountId, FirmId, SeededRng, Side, Span, Timestamp};
use reqwest::header::HeaderMap;
use serde_json::Value;
use serve::Firms;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use store::{Replicas, Store};
use streams::MemoryCache;
use testkit::{PASSWORD, START, World, program};
use tokio::sync::Notify;

/// The role over a world, and a client.
struct Stage {
    analytics: Analytics,
    projection: Projection,
    base: String,
    http: reqwest::Client,
    server: tokio::task::JoinHandle<()>,
}

impl Stage {
    async fn open(world: &World, firm: FirmId) -> Self {
        let clock = world.clock.clone();
        let cache: Arc<dyn Cache> = Arc::new(MemoryCache::new(clock.clone()));
        let store: Arc<Store> = Arc::clone(&world.store);
        let projected = Arc::new(Notify::new());
        let projection = Projection::new(store.clone(), cache.clone(), projected.clone());
        let cost = app::identity::Cost { memory: 64, passes: 1, lanes: 1 };
        let analytics = Analytics::new(Parts {
            identity: Arc::new(app::identity::Identity::new(
                store.clone(),
                clock.clone(),
                world.rng.clone(),
                1,
                cost,
            )),
            catalogue: Arc::new(app::catalogue::Catalogue::new(
                store.clone(),
                testkit::instruments(),
                clock.clone(),
            )),
            store: store.clone(),
            replicas: Arc::new(Replicas::new(store, &[], 1, clock.clone()).unwrap()),
            cache,
            firms: Arc::new(Firms { by_host: BTreeMap::new(), otherwise: Some(firm) }),
            metrics: Arc::default(),
            clock,
            rng: world.rng.clone(),
            projected,
            stopping: tokio::sync::watch::Sender::default().subscribe(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let service =
            analytics::router(analytics.clone()).into_make_service_with_connect_info::<serve::door::Peer>();
        let server = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        testkit::with_cryptography();
        let http = reqwest::Client::new();
        Self { analytics, projection, base, http, server }
    }

    async fn get(&self, session: Option<&str>, path: &str) -> (u16, HeaderMap, Value) {
        self.get_with(session, path, None).await
    }

    async fn get_with(
        &self,
        session: Option<&str>,
        path: &str,
        token: Option<&str>,
    ) -> (u16, HeaderMap, Value) {
        let mut request = self.http.get(format!("{}{path}", self.base));
        if let Some(session) = session {
            request = request.header("cookie", format!("ts_session={session}"));
        }
        if let Some(token) = token {
            request = request.header("consistency-token", token);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.json().await.unwrap_or_default())
    }

    async fn build(&self, firm: FirmId) {
        self.analytics.store.begin_rebuild(firm).await.unwrap();
        while !self.analytics.store.rebuild_some(firm, 3).await.unwrap() {}
    }

    async fn follow(&self) {
        analytics::follow_once(&self.analytics).await.unwrap();
    }

    /// Takes everything that was written and not taken.
    async fn take_all(&self, world: &World, firm: FirmId) {
        for chunk in messages(world, firm).await.chunks(50) {
            self.projection.take(firm, chunk).await.unwrap();
        }
        self.follow().await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn messages(world: &World, firm: FirmId) -> Vec<Message> {
    let mut superuser = world.database.superuser().await;
    let rows = sqlx::query(
        "select id, (extract(epoch from at) * 1000000)::bigint as at, aggregate, topic, payload from outbox
         where firm_id = $1 order by id",
    )
    .bind(firm.uuid())
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    rows.into_iter()
        .map(|row| Message {
            id: row.get("id"),
            firm,
            at: Timestamp::from_micros(row.get("at")),
            aggregate: row.get("aggregate"),
            topic: row.get("topic"),
            version: 1,
            payload: row.get("payload"),
            trace: None,
        })
        .collect()
}

async fn session(world: &World, firm: FirmId, person: &Person) -> String {
    let password = Password::new(PASSWORD);
    let (_, token) =
        world.identity.sign_in(&world.context(firm), &person.email, password, "::1").await.unwrap();
    token.reveal().to_owned()
}

async fn staff(world: &World, firm: FirmId, role: Role) -> String {
    let registration = Registration {
        email: format!("{}@staff.example", role.word()),
        password: Password::new(PASSWORD),
        display_name: role.word().to_owned(),
        region: None,
    };
    let person = world.identity.ensure_person(&world.context(firm), registration, vec![role]).await.unwrap();
    session(world, firm, &person).await
}

fn short(account: AccountId) -> String {
    account.label()
}

/// The whole board over HTTP: rank, account, share.
async fn board(stage: &Stage, query: &str) -> Vec<(i64, String, String)> {
    let mut lines = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/analytics/leaderboard?limit=100{query}{cursor}");
        let (status, _, page) = stage.get(None, &path).await;
        assert_eq!(status, 200, "{page}");
        for item in page["items"].as_array().unwrap() {
            let text = |field: &str| item[field].as_str().unwrap().to_owned();
            lines.push((item["rank"].as_i64().unwrap(), text("account"), text("profit_percent")));
        }
        let Some(next) = page["next_cursor"].as_str() else {
            assert_eq!(page["of"].as_u64().unwrap(), u64::try_from(lines.len()).unwrap());
            return lines;
        };
        cursor = format!("&cursor={next}");
    }
}

/// The same by PostgreSQL's window function; `scores` gives `account_id`, `opened_at`, `ppm`.
async fn window(connection: &mut PgConnection, scores: &str) -> Vec<(i64, String, String)> {
    let sql = format!(
        "select rank() over (order by ppm desc) as rank, account_id, ppm from ({scores}) score
         order by 1, opened_at, account_id"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
    rows.into_iter()
        .map(|row| {
            let account = short(AccountId::from_uuid(row.get("account_id")));
            (row.get("rank"), account, kernel::decimal::format(row.get("ppm"), 4, 2))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn boards_have_the_ranks_of_the_window_function_with_all_their_ties() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let person = world.person(firm, "trader@one.example").await;
    let stage = Stage::open(&world, firm).await;
    stage.build(firm).await;
    let mut superuser = world.database.superuser().await;
    let fill = "
        with account as (
            select gen_random_uuid() as id, 'program-' || n % 3 as slug, n % 2 as phase,
                   timestamptz '2026-01-01 00:00Z' + (n % 50) * interval '1 minute' as opened_at, n
            from generate_series(1, $3) n
        ), result as (
            insert into account_results
            select $1, 1, id, $2, slug, phase, 'active', 'USD', 1000000, 1000000, opened_at, null, 0, 0, 0, 5 from account
        )
        insert into account_scores
        select $1, 1, id, span.period, span.starts, slug, phase, opened_at, ppm, ppm, 1, 5
        from account
        cross join lateral (values ('all', date '1970-01-01'), ('day', date '2026-01-05'), ('day', date '2026-01-04'),
                                   ('week', date '2026-01-05'), ('week', date '2025-12-29'),
                                   ('month', date '2026-01-01'), ('month', date '2025-12-01'),
                                   ('day', date '2026-01-01')) span (period, starts)
        cross join lateral (select (random() * 200)::bigint - 100 + n * 0 as ppm) score
        where span.period = 'all' or n % 3 > 0";
    sqlx::query(fill)
        .bind(firm.uuid())
        .bind(person.id.uuid())
        .bind(1_500_i32)
        .execute(&mut superuser)
        .await
        .unwrap();
    let set_change = "update projections set change = $1";
    sqlx::query(set_change).bind(5_i64).execute(&mut superuser).await.unwrap();
    stage.follow().await;
    for round in 0..3_i64 {
        for (period, before, starts) in [
            ("all", false, "1970-01-01"),
            ("day", false, "2026-01-05"),
            ("day", true, "2026-01-04"),
            ("week", false, "2026-01-05"),
            ("week", true, "2025-12-29"),
            ("month", false, "2026-01-01"),
            ("month", true, "2025-12-01"),
        ] {
            for phase in 0..2 {
                for program in [None, Some("program-1"), Some("program-2")] {
                    let (query, only) = match program {
                        Some(slug) => (format!("&program={slug}"), format!("and slug = '{slug}'")),
                        None => (String::new(), String::new()),
                    };
                    let query = format!("&phase={phase}&period={period}&before={before}{query}");
                    let scores = format!(
                        "select * from account_scores where phase = {phase} and period = '{period}'
                         and starts = '{starts}' {only}"
                    );
                    let wanted = window(&mut superuser, &scores).await;
                    assert!(wanted.len() > 100, "{query}");
                    assert_eq!(board(&stage, &query).await, wanted, "round {round}: {query}");
                }
            }
        }
        // Half of the scores move, some accounts come, and whoever follows hears of both.
        sqlx::query(
            "update account_scores set ppm = moved.ppm, realised_micros = moved.ppm, change = $1
             from (select account_id, period, starts, (random() * 300)::bigint - 150 as ppm from account_scores
                   where random() < 0.5) moved
             where (account_scores.account_id, account_scores.period, account_scores.starts)
                   = (moved.account_id, moved.period, moved.starts)",
        )
        .bind(6 + round)
        .execute(&mut superuser)
        .await
        .unwrap();
        sqlx::query(set_change).bind(6 + round).execute(&mut superuser).await.unwrap();
        stage.follow().await;
    }
    let (bytes, accounts) = stage.analytics.memory();
    assert!(accounts == 1_500 && bytes > 1_500 * 100);
}

/// Realised shares from the truth: entries of the ledger, and no read table.
fn truth(phase: i32, program: &str, since: &str) -> String {
    format!(
        "select account.id as account_id, account.opened_at,
                floor(coalesce(sum(entry.amount_micros), 0) * 1000000 / account.initial_micros)::bigint as ppm
         from accounts account
         join challenges challenge on challenge.id = account.challenge_id
         {} join balance_entries entry on entry.account_id = account.id and entry.kind in ('profit', 'commission')
                                           and entry.at >= '{since}'
         where account.phase = {phase} and challenge.slug = '{program}'
         group by account.id, account.opened_at, account.initial_micros",
        if since == "-infinity" { "left" } else { "" }
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_memory_and_lost_tables_come_back_with_every_rank() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    world.publish(firm, "two-step", program("one")).await;
    let stage = Stage::open(&world, firm).await;
    stage.build(firm).await;
    let rng = SeededRng::new(11);
    let pick = |below: usize| usize::try_from(rng.next_u64()).unwrap() % below;
    let mut owner = Owner::take(&world, 0).await;
    let mut price = 110_000_i64;
    owner.quote("EURUSD", price, price + 2);
    let mut accounts = Vec::new();
    for number in 0..8 {
        let trader = world.person(firm, &format!("trader-{number}@one.example")).await;
        accounts.push(owner.open(&world.challenge(firm, &trader, "two-step").await).await);
    }
    for _ in 0..40 {
        for _ in 0..5 {
            price += i64::try_from(pick(300)).unwrap() - 150;
            owner.quote("EURUSD", price, price + 2);
            let account = accounts[pick(8)];
            let open: Vec<Ticket> =
                owner.engine.account(account).unwrap().positions.keys().copied().collect();
            let side = if pick(2) == 0 { Side::Buy } else { Side::Sell };
            // A refusal is as good: the account may be over.
            let _ = match open.first() {
                Some(ticket) if pick(2) == 0 => owner.close(account, *ticket),
                _ => owner.act(account, market("EURUSD", side, 1)),
            };
        }
        owner.wait(Span::from_seconds(i32::try_from(pick(20_000)).unwrap()));
        owner.clock();
        let _proof = owner.commit().await.unwrap();
        // Messages come more than once, in any order, and not all of them.
        let all = messages(&world, firm).await;
        let some = || -> Vec<Message> { (0..pick(40)).map(|_| all[pick(all.len())].clone()).collect() };
        // Two processes at once.
        let (mine, yours) = (some(), some());
        let taken = tokio::join!(stage.projection.take(firm, &mine), stage.projection.take(firm, &yours));
        taken.0.and(taken.1).unwrap();
    }
    world.clock.set(owner.now);
    let all = messages(&world, firm).await;
    for message in all.iter().rev() {
        stage.projection.take(firm, std::slice::from_ref(message)).await.unwrap();
    }
    stage.projection.take(firm, &all).await.unwrap();
    stage.follow().await;
    assert_eq!(stage.analytics.fresh().unwrap().waiting, None);

    let mut superuser = world.database.superuser().await;
    let today = &owner.now.to_string()[..10];
    let monday: String =
        sqlx::query_scalar("select to_char(date_trunc('week', $1::timestamp), 'YYYY-MM-DD')")
            .bind(today)
            .fetch_one(&mut superuser)
            .await
            .unwrap();
    let boards = [
        ("all", "-infinity".to_owned()),
        ("month", "2026-01-01T00:00:00Z".to_owned()),
        ("week", format!("{monday}T00:00:00Z")),
        ("day", format!("{today}T00:00:00Z")),
    ];
    assert!(today < "2026-02-01", "the story ends in its month: {today}");
    for round in ["followed", "rebuilt"] {
        for (period, since) in &boards {
            for phase in 0..2 {
                let query = format!("&program=two-step&phase={phase}&period={period}");
                let wanted = window(&mut superuser, &truth(phase, "two-step", since)).await;
                assert_eq!(board(&stage, &query).await, wanted, "{round}: {query}");
            }
        }
        let admin = staff(&world, firm, Role::Admin).await;
        for (index, account) in accounts.iter().enumerate() {
            let (status, _, answer) =
                stage.get(Some(&admin), &format!("/v1/analytics/accounts/{account}/rank?neighbours=2")).await;
            assert_eq!(status, 200, "{answer}");
            let wanted = window(&mut superuser, &truth(0, "two-step", "-infinity")).await;
            let place = wanted.iter().position(|line| line.1 == short(*account)).unwrap();
            assert_eq!(answer["line"]["rank"], wanted[place].0);
            let shown: Vec<&str> = answer["board"]["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["account"].as_str().unwrap())
                .collect();
            let around: Vec<&str> = wanted
                [place.saturating_sub(2)..place.saturating_add(3).min(wanted.len())]
                .iter()
                .map(|line| line.1.as_str())
                .collect();
            assert_eq!(shown, around, "account {index}");
        }
        // Both are lost.
        for table in ["account_results", "account_scores", "account_symbols", "business_days"] {
            sqlx::query(AssertSqlSafe(format!("delete from {table}"))).execute(&mut superuser).await.unwrap();
        }
        stage.analytics.forget();
        stage.build(firm).await;
        stage.follow().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_lets_in_whom_the_table_says() {
    let world = World::new().await;
    let one = story(&world, "one", 0).await;
    let stage = Stage::open(&world, one.firm).await;
    let (status, headers, problem) = stage.get(None, "/v1/analytics/leaderboard").await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("unavailable")), "nothing was loaded yet");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(stage.get(None, "/health/ready").await.0, 503);
    stage.take_all(&world, one.firm).await;
    assert_eq!(stage.get(None, "/health/ready").await.0, 200);

    let stranger = session(&world, one.firm, &world.person(one.firm, "stranger@one.example").await).await;
    let mut sessions = BTreeMap::new();
    for role in Role::ALL {
        sessions.insert(role, staff(&world, one.firm, role).await);
    }
    for (method, path, access) in ACCESS {
        assert_eq!(method, "GET");
        let at = path.replace("{id}", &one.passed.to_string());
        let status = |session| stage.get(session, &at);
        let anonymous = status(None).await.0;
        assert_eq!(anonymous, if access == Access::Public { 200 } else { 401 }, "{path} by nobody");
        let owner = status(Some(one.token.as_str())).await.0;
        assert_eq!(owner, if access == Access::Business { 403 } else { 200 }, "{path} by the owner");
        let other = status(Some(&stranger)).await.0;
        let wanted = match access {
            Access::Public | Access::SignedIn => 200,
            Access::OwnerOrStaff => 404,
            Access::Business => 403,
        };
        assert_eq!(other, wanted, "{path} by a stranger");
        for (role, session) in &sessions {
            let found = status(Some(session)).await.0;
            let wanted = match access {
                Access::Public | Access::SignedIn => 200,
                Access::OwnerOrStaff => match role {
                    Role::Trader | Role::Finance => 404,
                    Role::Support | Role::Risk | Role::Admin | Role::Auditor => 200,
                },
                Access::Business => match role {
                    Role::Trader | Role::Support => 403,
                    Role::Risk | Role::Finance | Role::Admin | Role::Auditor => 200,
                },
            };
            assert_eq!(found, wanted, "{path} by {}", role.word());
        }
    }
    // The same session as a bearer's token.
    let request = stage.http.get(format!("{}/v1/analytics/me/ranks", stage.base));
    let answer = request.bearer_auth(&one.token).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let ranks: Value = answer.json().await.unwrap();
    assert_eq!(ranks["items"].as_array().unwrap().len(), 3, "{ranks}");
    assert!(ranks["items"].as_array().unwrap().iter().all(|item| item["line"]["you"] == true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_a_problem_with_its_code() {
    let world = World::new().await;
    let one = story(&world, "one", 0).await;
    let stage = Stage::open(&world, one.firm).await;
    stage.take_all(&world, one.firm).await;
    let admin = staff(&world, one.firm, Role::Admin).await;
    let account = one.passed;
    for (path, status, code) in [
        ("/v1/analytics/leaderboard?cursor=x".to_owned(), 422, "validation_failed"),
        ("/v1/analytics/leaderboard?period=year".to_owned(), 422, "validation_failed"),
        ("/v1/analytics/leaderboard?phase=-1".to_owned(), 422, "validation_failed"),
        ("/v1/analytics/leaderboard?program=nothing".to_owned(), 404, "not_found"),
        ("/v1/analytics/accounts/x/rank".to_owned(), 404, "not_found"),
        (format!("/v1/analytics/accounts/{}/rank", uuid::Uuid::nil()), 404, "not_found"),
        (format!("/v1/analytics/accounts/{}/statistics", uuid::Uuid::nil()), 404, "not_found"),
        ("/v1/analytics/business?from=2026-02-30".to_owned(), 422, "validation_failed"),
        ("/v1/analytics/business?from=2026-01-05&to=2026-01-04".to_owned(), 422, "validation_failed"),
        ("/v1/analytics/business?from=2024-01-05&to=2026-01-04".to_owned(), 422, "validation_failed"),
        ("/v1/nothing".to_owned(), 404, "not_found"),
    ] {
        let (found, headers, problem) = stage.get(Some(&admin), &path).await;
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{path}: {problem}");
        assert_eq!(headers["content-type"], "application/problem+json", "{path}");
        assert_eq!(headers["x-request-id"].to_str().unwrap(), problem["request_id"].as_str().unwrap());
    }
    let path = format!("/v1/analytics/accounts/{account}/statistics");
    for token in ["", "zz", "00000000000000001", "-000000000000001"] {
        let (status, _, problem) = stage.get_with(Some(&admin), &path, Some(token)).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some("validation_failed")), "{token:?}");
    }
    let answer = stage.http.post(format!("{}{path}", stage.base)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_say_what_the_positions_say() {
    let world = World::new().await;
    let one = story(&world, "one", 0).await;
    let stage = Stage::open(&world, one.firm).await;
    stage.take_all(&world, one.firm).await;
    let get = async |path: String| stage.get(Some(&one.token), &path).await.2;
    let found = get(format!("/v1/analytics/accounts/{}/statistics", one.passed)).await;
    let mut superuser = world.database.superuser().await;
    let row = sqlx::query(
        "select count(*) as closed, count(*) filter (where result > 0) as wins, sum(result)::bigint as net,
                max(result) as best, min(result) as worst, avg(result)::bigint as mean
         from (select realised_micros - commission_micros as result from positions
               where account_id = $1 and closed_at is not null) closed",
    )
    .bind(one.passed.uuid())
    .fetch_one(&mut superuser)
    .await
    .unwrap();
    let trades = &found["trades"];
    let usd = kernel::Currency::parse("USD").unwrap();
    let money = |column: &str| kernel::Amount::from_micros(row.get(column)).text(usd);
    assert_eq!(trades["closed"], row.get::<i64, _>("closed"));
    assert_eq!(trades["wins"], row.get::<i64, _>("wins"));
    assert_eq!(trades["profit"], money("net"));
    assert_eq!(trades["best"], money("best"));
    assert_eq!(trades["worst"], money("worst"));
    assert!(trades["closed"].as_i64().unwrap() >= 2, "{found}");
    assert_eq!(found["by_symbol"].as_array().unwrap().len(), 2);
    let mine = get("/v1/analytics/me/statistics".to_owned()).await;
    assert_eq!(mine["items"][0]["accounts"], 3);
    let curve = get(format!("/v1/analytics/accounts/{}/curve", one.passed)).await;
    let points = curve["points"].as_array().unwrap();
    let days: i64 = sqlx::query_scalar("select count(*) from trading_days where account_id = $1")
        .bind(one.passed.uuid())
        .fetch_one(&mut superuser)
        .await
        .unwrap();
    assert_eq!(i64::try_from(points.len()).unwrap(), days + 2, "{curve}");
    assert_eq!(points[0]["balance"], "100000.00");
    assert_eq!(points.last().unwrap()["balance"], found["balance"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_carries_a_token_sees_what_they_have_done() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    world.publish(firm, "two-step", program("one")).await;
    let trader = world.person(firm, "trader@one.example").await;
    let cookie = session(&world, firm, &trader).await;
    let mut owner = Owner::take(&world, 0).await;
    owner.quote("EURUSD", 110_000, 110_002);
    let account = owner.open(&world.challenge(firm, &trader, "two-step").await).await;
    let _proof = owner.commit().await.unwrap();
    let stage = Stage::open(&world, firm).await;
    stage.build(firm).await;
    stage.follow().await;
    let path = format!("/v1/analytics/accounts/{account}/statistics");
    let count_closed = |of: &Value| of["trades"]["closed"].as_i64().unwrap();
    for round in 1..6 {
        owner.buy(account, "EURUSD", 1).unwrap();
        let ticket = *owner.engine.account(account).unwrap().positions.keys().next().unwrap();
        owner.close(account, ticket).unwrap();
        let _proof = owner.commit().await.unwrap();
        let token = world.store.consistency_token().await.unwrap().to_string();
        // No message was taken, and what is kept is older.
        let (code, _, older) = stage.get(Some(&cookie), &path).await;
        assert_eq!(code, 200);
        assert_eq!(count_closed(&older), round - 1, "nobody asked for more");
        let (_, _, answer) = stage.get_with(Some(&cookie), &path, Some(&token)).await;
        assert_eq!(count_closed(&answer), round);
        // And an event makes what is kept invalid for everybody.
        stage.take_all(&world, firm).await;
        assert_eq!(count_closed(&stage.get(Some(&cookie), &path).await.2), round);
        assert_eq!(count_closed(&stage.get(Some(&cookie), &path).await.2), round);
    }
    let figures = figures(&stage.analytics);
    assert!(figures.contains("tradesense_analytics_answers_total{from=\"cache\"}"), "{figures}");
    assert!(figures.contains("tradesense_analytics_lag_messages 0\n"), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_shows_in_every_answer_and_in_the_figures() {
    let world = World::new().await;
    let one = story(&world, "one", 0).await;
    let stage = Stage::open(&world, one.firm).await;
    stage.follow().await;
    let written = messages(&world, one.firm).await;
    let oldest = written.first().unwrap().at.to_string();
    let board = stage.get(None, "/v1/analytics/leaderboard").await.2;
    assert_eq!(board["as_of"], oldest, "nothing was taken yet");
    let figures = figures(&stage.analytics);
    assert!(figures.contains(&format!("tradesense_analytics_lag_messages {}\n", written.len())), "{figures}");
    stage.take_all(&world, one.firm).await;
    let board = stage.get(None, "/v1/analytics/leaderboard").await.2;
    assert!(board["as_of"].as_str().unwrap() > START, "{board}");
    assert_eq!(stage.analytics.fresh().unwrap().count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firm_sees_its_business_and_no_other() {
    let world = World::new().await;
    let one = story(&world, "one", 0).await;
    let two = story(&world, "two", 0).await;
    let stage = Stage::open(&world, one.firm).await;
    stage.take_all(&world, one.firm).await;
    stage.take_all(&world, two.firm).await;
    let teller = staff(&world, one.firm, Role::Finance).await;
    let (status, _, answer) =
        stage.get(Some(&teller), "/v1/analytics/business?from=2026-01-01&to=2026-01-31").await;
    assert_eq!(status, 200, "{answer}");
    let sum = |what: &str| -> i64 {
        let days = answer["days"].as_array().unwrap().iter();
        days.filter(|day| day["what"] == what).map(|day| day["count"].as_i64().unwrap()).sum()
    };
    assert_eq!(
        (sum("purchases"), sum("paid"), sum("opened"), sum("passes"), sum("breaches")),
        (2, 2, 3, 1, 1)
    );
    let paid = answer["days"].as_array().unwrap().iter().find(|day| day["what"] == "paid").unwrap();
    assert_eq!(paid["amount"], "980.00");
    let accounts: i64 =
        answer["accounts"].as_array().unwrap().iter().map(|line| line["count"].as_i64().unwrap()).sum();
    assert_eq!(accounts, 3, "{answer}");
    assert_eq!(stage.get(Some(&two.token), "/v1/analytics/me/ranks").await.0, 401, "another firm's session");
}

fn figures(analytics: &Analytics) -> String {
    let mut page = telemetry::metrics::Page::new(telemetry::metrics::Format::Text);
    analytics::ops::write(analytics, &mut page);
    page.finish()
}
