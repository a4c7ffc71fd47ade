//! Who leads, and where somebody stands.

use std::collections::HashMap;
use std::sync::Arc;

use app::{Actor, AppError, Permission};
use axum::Json;
use axum::extract::State;
use kernel::{AccountId, FirmId, PersonId};
use serde::{Deserialize, Serialize};
use serve::extract::{Caller, Path, Query, SignedIn};
use serve::problem::{Problem, ProblemBody};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AccountStatus, Period, percent};
use crate::Analytics;
use crate::boards::{Line, Lines, Which, starts};
use crate::calendar::{date, day_of};

/// Lines of a page.
const PAGE: usize = 100;
/// Lines before and after somebody's own, at most.
const MOST_NEIGHBOURS: usize = 50;

pub(super) fn router() -> OpenApiRouter<Analytics> {
    OpenApiRouter::new().routes(routes!(leaderboard)).routes(routes!(rank)).routes(routes!(my_ranks))
}

/// Which board.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// The program's slug; all programs together if not said.
    program: Option<String>,
    /// The phase, from 0.
    #[serde(default)]
    phase: usize,
    /// Which results count; all of them if not said.
    #[serde(default)]
    #[param(inline)]
    period: Period,
    /// The period before the running one.
    #[serde(default)]
    before: bool,
    /// Lines, 1 to 100; 100 if not said.
    limit: Option<usize>,
    /// `next_cursor` of the page before. The board moves on between two pages.
    cursor: Option<String>,
}

/// Which results, for one account.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RankWanted {
    /// Among all programs and not only the account's own.
    #[serde(default)]
    all_programs: bool,
    /// Which results count; all of them if not said.
    #[serde(default)]
    #[param(inline)]
    period: Period,
    /// The period before the running one.
    #[serde(default)]
    before: bool,
    /// Lines before and after, at most 50; 5 if not said.
    neighbours: Option<usize>,
}

/// A part of a board. Ranked by what was realised after commission in the period as a share of the balance at opening.
#[derive(Debug, Serialize, ToSchema)]
pub struct Leaderboard {
    /// The program's slug; none for all together.
    #[schema(required)]
    program: Option<String>,
    /// The phase, from 0.
    phase: usize,
    /// Which results count.
    period: Period,
    /// The first day of the period, in UTC; none for all time.
    #[schema(required)]
    starts: Option<String>,
    /// Accounts on the board.
    of: usize,
    /// By rank.
    items: Vec<Ranked>,
    /// Give it as `cursor` to read on; nothing at the end.
    #[schema(required)]
    next_cursor: Option<String>,
    /// Everything written before it is in the answer.
    as_of: String,
}

/// An account and its neighbours.
#[derive(Debug, Serialize, ToSchema)]
pub struct RankOf {
    /// Its own line; none if it has realised nothing in the period.
    #[schema(required)]
    line: Option<Ranked>,
    /// The part of the board around it.
    board: Leaderboard,
}

/// One's own accounts and where they stand.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyRanks {
    /// Those that stand on the board of their program and phase, the first opened first.
    items: Vec<MyRank>,
    /// Everything written before it is in the answer.
    as_of: String,
}

/// Where one's own account stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyRank {
    /// The account.
    id: String,
    /// The program's slug.
    program: String,
    /// The phase, from 0.
    phase: usize,
    /// Accounts on the board.
    of: usize,
    /// The line.
    line: Ranked,
}

/// One account on a board.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ranked {
    /// From 1; equals share a rank, and the next rank counts all of them.
    rank: usize,
    /// The trader's display name.
    trader: String,
    /// Short name of the account.
    account: String,
    /// Where the account stands.
    status: AccountStatus,
    /// Realised in the period, after commission.
    profit: String,
    /// Of the balance at opening, rounded down to a hundredth of a hundredth.
    profit_percent: String,
    /// Closed balance now.
    balance: String,
    /// Currency of every amount.
    currency: &'static str,
    /// Positions closed in the period.
    trades: u32,
    /// Whether it is the caller's own.
    you: bool,
}

struct Renderer {
    names: HashMap<PersonId, String>,
    you: Option<PersonId>,
}

impl Renderer {
    async fn new<'l>(
        analytics: &Analytics,
        firm: FirmId,
        you: Option<PersonId>,
        lines: impl Iterator<Item = &'l Line>,
    ) -> Result<Self, Problem> {
        let people = lines.map(|line| line.shown.person);
        let now = analytics.clock.now();
        let names = analytics.names().of(&analytics.store, firm, people, now).await?;
        Ok(Self { names, you })
    }

    fn line(&self, line: &Line) -> Ranked {
        let shown = &line.shown;
        Ranked {
            rank: line.rank,
            trader: self.names.get(&shown.person).cloned().unwrap_or_default(),
            account: shown.account.label(),
            status: shown.status.into(),
            profit: line.score.realised.text(shown.currency),
            profit_percent: percent(line.score.ppm),
            balance: shown.balance.text(shown.currency),
            currency: shown.currency.code(),
            trades: line.score.closed,
            you: self.you == Some(shown.person),
        }
    }
}

/// What the lines are lines of.
struct Board {
    program: Option<String>,
    phase: usize,
    period: Period,
    first_day: i32,
}

impl Board {
    fn render(&self, lines: &Lines, renderer: &Renderer, as_of: String) -> Leaderboard {
        let end = lines.from.saturating_add(lines.lines.len());
        Leaderboard {
            program: self.program.clone(),
            phase: self.phase,
            period: self.period,
            starts: (self.period != Period::All).then(|| date(self.first_day)),
            of: lines.of,
            items: lines.lines.iter().map(|line| renderer.line(line)).collect(),
            next_cursor: (end < lines.of && !lines.lines.is_empty()).then(|| end.to_string()),
            as_of,
        }
    }
}

/// The accounts of a phase by what they realised, of one program or of all together. Open to everybody.
#[utoipa::path(get, path = "/v1/analytics/leaderboard", tag = "leaderboard", params(Wanted), responses(
    (status = 200, body = Leaderboard), (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn leaderboard(
    State(analytics): State<Analytics>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Leaderboard>, Problem> {
    let firm = caller.context.firm;
    let as_of = analytics.as_of()?.to_string();
    let from = match wanted.cursor.as_deref().map(str::parse::<usize>) {
        None => 0,
        Some(Ok(from)) => from,
        Some(Err(_)) => {
            return Err(AppError::field("/cursor", "Use the next_cursor of the page before.").into());
        }
    };
    let program = match wanted.program {
        Some(slug) => Some(program(&analytics, firm, slug).await?),
        None => None,
    };
    let period = wanted.period.into();
    let first_day = starts(period, day_of(analytics.clock.now()), wanted.before);
    let most = wanted.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let which = Which { program, phase: wanted.phase };
    let lines = {
        let boards = analytics.read_boards();
        let boards = boards.get(&firm);
        boards.map(|boards| boards.lines(&which, period, first_day, from, most)).unwrap_or_default()
    };
    let you = caller.context.actor.as_ref().map(|actor| actor.person);
    let renderer = Renderer::new(&analytics, firm, you, lines.lines.iter()).await?;
    let program = which.program.as_deref().map(str::to_owned);
    let board = Board { program, phase: which.phase, period: wanted.period, first_day };
    Ok(Json(board.render(&lines, &renderer, as_of)))
}

/// A program that has accounts, or is on sale and may get some.
async fn program(analytics: &Analytics, firm: FirmId, slug: String) -> Result<Arc<str>, Problem> {
    let known = analytics.read_boards().get(&firm).and_then(|boards| boards.knows(&slug));
    match known {
        Some(known) => Ok(known),
        None => Ok(analytics.catalogue.get(firm, &slug).await?.slug.into()),
    }
}

/// Where an account stands among those of its phase, with its neighbours.
#[utoipa::path(get, path = "/v1/analytics/accounts/{id}/rank", tag = "leaderboard",
    params(("id" = uuid::Uuid, Path, description = "The account"), RankWanted), responses(
    (status = 200, body = RankOf), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn rank(
    State(analytics): State<Analytics>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
    Query(wanted): Query<RankWanted>,
) -> Result<Json<RankOf>, Problem> {
    let firm = caller.context.firm;
    let actor = caller.actor()?;
    let as_of = analytics.as_of()?.to_string();
    let period = wanted.period.into();
    let first_day = starts(period, day_of(analytics.clock.now()), wanted.before);
    let neighbours = wanted.neighbours.unwrap_or(5).min(MOST_NEIGHBOURS);
    let (board, found) = {
        let boards = analytics.read_boards();
        let boards = boards.get(&firm).ok_or(AppError::NotFound("account"))?;
        let shown = boards.account(id).filter(|shown| sees(actor, shown.person));
        let shown = shown.ok_or(AppError::NotFound("account"))?;
        let program = (!wanted.all_programs).then(|| (*shown.program).to_owned());
        let board = Board { program, phase: shown.phase, period: wanted.period, first_day };
        (board, boards.around(id, wanted.all_programs, period, first_day, neighbours))
    };
    let (own, lines) = found.unzip();
    let lines = lines.unwrap_or_default();
    let renderer = Renderer::new(&analytics, firm, Some(actor.person), lines.lines.iter()).await?;
    let line = own.and_then(|own| lines.lines.get(own)).map(|line| renderer.line(line));
    let mut board = board.render(&lines, &renderer, as_of);
    // This is a part around somebody and no page.
    board.next_cursor = None;
    Ok(Json(RankOf { line, board }))
}

fn sees(actor: &Actor, owner: PersonId) -> bool {
    actor.person == owner || actor.may(Permission::ReadAccounts)
}

/// Where one's own accounts stand, each among those of its program and phase.
#[utoipa::path(get, path = "/v1/analytics/me/ranks", tag = "leaderboard", params(RankWanted), responses(
    (status = 200, body = MyRanks), (status = 401, response = ProblemBody)))]
async fn my_ranks(
    State(analytics): State<Analytics>,
    SignedIn(caller): SignedIn,
    Query(wanted): Query<RankWanted>,
) -> Result<Json<MyRanks>, Problem> {
    let firm = caller.context.firm;
    let person = caller.actor()?.person;
    let as_of = analytics.as_of()?.to_string();
    let accounts = {
        let mut tx = analytics.store.begin(firm).await?;
        store::analytics::accounts_of(&mut tx, person).await?
    };
    let period = wanted.period.into();
    let first_day = starts(period, day_of(analytics.clock.now()), wanted.before);
    let found: Vec<(AccountId, Line, usize)> = {
        let boards = analytics.read_boards();
        let own = |account: AccountId| {
            let boards = boards.get(&firm)?;
            let (own, lines) = boards.around(account, wanted.all_programs, period, first_day, 0)?;
            Some((account, lines.lines.get(own)?.clone(), lines.of))
        };
        accounts.into_iter().filter_map(own).collect()
    };
    let renderer =
        Renderer::new(&analytics, firm, Some(person), found.iter().map(|(_, line, _)| line)).await?;
    let render = |(account, line, of): &(AccountId, Line, usize)| MyRank {
        id: account.to_string(),
        program: (*line.shown.program).to_owned(),
        phase: line.shown.phase,
        of: *of,
        line: renderer.line(line),
    };
    Ok(Json(MyRanks { items: found.iter().map(render).collect(), as_of }))
}
