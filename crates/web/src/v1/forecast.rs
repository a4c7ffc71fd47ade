//! What would come next for an account, and the next phase where the trader has to ask for it.

use app::AppError;
use axum::Json;
use axum::extract::State;
use engine::{Act, Forecast as Ahead};
use kernel::{AccountId, Amount, Currency};
use rules::{Figure, Figured, Objective, Worth};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::account_view::{derivation, figure_text};
use super::accounts::{own, visible};
use super::text::time;
use super::trading::submit;
use super::words::Effect;
use crate::Web;
use crate::extract::{IdempotencyKey, Path, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(forecast)).routes(routes!(promote))
}

/// What would come next if prices stayed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Forecast {
    /// The instant that everything here is seen from.
    as_of: String,
    /// Currency of every amount.
    currency: &'static str,
    /// The next ends of the trading day.
    resets: Vec<ComingReset>,
    /// What the next reset would do to what is held.
    next_reset: ResetOutlook,
    /// Until when no position may be opened, if a rule holds the account back.
    #[schema(required)]
    locked_until: Option<String>,
    /// When rules act by themselves, the earliest first.
    deadlines: Vec<ComingDeadline>,
    /// For each open position the price at which it alone would make a floor fire.
    positions: Vec<FiringPosition>,
    /// Every rule with its numbers.
    rules: Vec<RuleNumbers>,
    /// Whether a payout may be asked for; nothing in a phase that pays nothing.
    #[schema(required)]
    payout: Option<PayoutCheck>,
}

/// An end of a trading day.
#[derive(Debug, Serialize, ToSchema)]
pub struct ComingReset {
    /// When.
    at: String,
    /// On the wall clock of the program's zone.
    local: String,
    /// Whether the clocks change within the day it ends.
    clock_change: bool,
}

/// What the next reset would do to what is held, at the prices of now.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResetOutlook {
    /// Whether a floor would fire at once.
    fires: bool,
    /// In a sentence.
    sentence: String,
    /// The floors as they would stand.
    floors: Vec<FloorAfter>,
}

/// A floor after the next reset.
#[derive(Debug, Serialize, ToSchema)]
pub struct FloorAfter {
    /// The rule's kind.
    rule: String,
    /// For people.
    label: String,
    /// The floor.
    floor: String,
    /// What would be left above it; negative if it would fire.
    room: String,
    /// How it follows from its reference.
    derivation: String,
}

/// When a rule acts by itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct ComingDeadline {
    /// The rule's kind.
    rule: String,
    /// For people.
    label: String,
    /// When.
    at: String,
    /// What it then does.
    effect: Effect,
}

/// The price at which a position alone would make a floor fire.
#[derive(Debug, Serialize, ToSchema)]
pub struct FiringPosition {
    /// The position.
    ticket: u32,
    /// What.
    symbol: String,
    /// The price, on the side at which it closes; nothing if no price in range would.
    #[schema(required)]
    price: Option<String>,
    /// The rule that would fire.
    #[schema(required)]
    rule: Option<String>,
    /// For people.
    #[schema(required)]
    label: Option<String>,
}

/// A rule with its numbers.
#[derive(Debug, Serialize, ToSchema)]
pub struct RuleNumbers {
    /// Its kind.
    rule: String,
    /// For people.
    label: String,
    /// What it means.
    sentence: String,
    /// Its numbers, in the order in which they are explained.
    figures: Vec<Number>,
}

/// A number with its name.
#[derive(Debug, Serialize, ToSchema)]
pub struct Number {
    /// Its name, such as `room`.
    name: String,
    /// For people.
    label: String,
    /// The number as text.
    value: String,
}

/// Whether a payout may be asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct PayoutCheck {
    /// Whether every condition holds.
    eligible: bool,
    /// The most that may be taken out now.
    withdrawable: String,
    /// What the trader gets of it.
    payout: String,
    /// Every condition with its number.
    conditions: Vec<Condition>,
    /// Every number on the way.
    figures: Vec<Number>,
    /// What to know before asking, such as that nothing would be left above the floor.
    warnings: Vec<String>,
}

/// A condition of a payout.
#[derive(Debug, Serialize, ToSchema)]
pub struct Condition {
    /// Its word.
    name: String,
    /// For people.
    label: String,
    /// The value now.
    current: String,
    /// What is asked for.
    target: String,
    /// Whether it holds.
    met: bool,
}

/// A phase that was passed on request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Promoted {
    /// Always true.
    passed: bool,
}

/// What would come next for an account if prices stayed.
#[utoipa::path(get, path = "/v1/accounts/{id}/forecast", tag = "accounts", params(("id" = String, Path)), responses(
    (status = 200, body = Forecast), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 503, response = ProblemBody)))]
async fn forecast(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
) -> Result<Json<Forecast>, Problem> {
    visible(&web, &caller, id).await?;
    let ahead = web.desk.forecast(id).await?.ok_or(AppError::NotFound("account"))?;
    render(&ahead, &web).map(Json)
}

fn overflow<E>(_: E) -> Problem {
    Problem::new("internal", "A number left its range.")
}

fn render(ahead: &Ahead, web: &Web) -> Result<Forecast, Problem> {
    let view = &ahead.view;
    let currency = view.program.currency;
    let deadline = |deadline: &rules::Deadline| ComingDeadline {
        rule: deadline.kind.to_string(),
        label: engine::label(&deadline.kind),
        at: time(deadline.at),
        effect: deadline.effect.into(),
    };
    let mut positions = Vec::with_capacity(view.account.positions.len());
    for (ticket, position) in &view.account.positions {
        let instrument = web.hub.instruments().get(position.instrument).map_err(overflow)?;
        let fires = ahead.fires_at.get(ticket);
        positions.push(FiringPosition {
            ticket: ticket.0,
            symbol: instrument.symbol.to_string(),
            price: fires.map(|fires| instrument.price_text(fires.price)),
            rule: fires.map(|fires| fires.kind.clone()),
            label: fires.map(|fires| engine::label(&fires.kind)),
        });
    }
    let words = view.program.words();
    let rules = view.phase.rules.iter().zip(&ahead.figures).map(|(rule, numbers)| RuleNumbers {
        rule: rule.kind().to_owned(),
        label: engine::label(rule.kind()),
        sentence: rule.sentence(&words),
        figures: numbers.figures.iter().map(|figured| number(figured, currency)).collect(),
    });
    let reset = |reset: &engine::ComingReset| ComingReset {
        at: time(reset.at),
        local: reset.local.clone(),
        clock_change: reset.clock_change,
    };
    Ok(Forecast {
        as_of: time(view.as_of),
        currency: currency.code(),
        resets: ahead.resets.iter().map(reset).collect(),
        next_reset: next_reset(ahead, currency)?,
        locked_until: view.account.track.held_back_at(view.as_of).map(|held| time(held.until)),
        deadlines: view.deadlines.iter().map(deadline).collect(),
        positions,
        rules: rules.collect(),
        payout: view.payout.as_ref().map(|precheck| payout_check(precheck, currency)),
    })
}

fn next_reset(ahead: &Ahead, currency: Currency) -> Result<ResetOutlook, Problem> {
    let view = &ahead.view;
    let worth = Worth { balance: view.account.balance, equity: view.equity, at_reset: true };
    let mut floors = Vec::with_capacity(ahead.floors_after_reset.len());
    for floor in ahead.floors_after_reset.iter().filter(|floor| floor.effect != rules::Effect::Warn) {
        floors.push(FloorAfter {
            rule: floor.kind.to_string(),
            label: engine::label(&floor.kind),
            floor: floor.amount.text(currency),
            room: floor.room(worth).map_err(overflow)?.text(currency),
            derivation: derivation(floor, currency),
        });
    }
    let at = time(view.account.track.next_reset);
    let sentence = match &ahead.fires_at_reset {
        Some(floor) => format!(
            "If prices stay, the reset at {at} moves the {} floor to {} {currency}, and the equity of {} {currency} has \
             crossed it: {}. Close or reduce what you hold before then.",
            engine::label(&floor.kind).to_lowercase(),
            floor.amount.grouped(currency),
            view.equity.grouped(currency),
            floor.effect.words(),
        ),
        None => format!("If prices stay, nothing fires at the reset at {at}."),
    };
    Ok(ResetOutlook { fires: ahead.fires_at_reset.is_some(), sentence, floors })
}

fn number(figured: &Figured, currency: Currency) -> Number {
    let value = figure_text(&figured.value, currency);
    Number { name: figured.name.to_string(), label: engine::label(&figured.name), value }
}

pub(super) fn payout_check(precheck: &rules::payout::Precheck, currency: Currency) -> PayoutCheck {
    let text = |figure: &Figure| figure_text(figure, currency);
    let condition = |condition: &Objective| Condition {
        name: condition.kind.to_string(),
        label: engine::label(&condition.kind),
        current: text(&condition.current),
        target: text(&condition.target),
        met: condition.met,
    };
    let amount = |name: &str| {
        let found = precheck.figures.iter().find(|figured| figured.name == name);
        found.and_then(|figured| if let Figure::Amount(amount) = figured.value { Some(amount) } else { None })
    };
    let mut warnings = Vec::new();
    if precheck.withdrawable > Amount::ZERO
        && let Some(room) = amount("room_after")
        && room <= Amount::ZERO
    {
        warnings.push(
            "Taking out everything leaves no room above the floor: the next spread or loss would end the account."
                .to_owned(),
        );
    }
    PayoutCheck {
        eligible: precheck.eligible,
        withdrawable: precheck.withdrawable.text(currency),
        payout: precheck.payout.text(currency),
        conditions: precheck.conditions.iter().map(condition).collect(),
        figures: precheck.figures.iter().map(|figured| number(figured, currency)).collect(),
        warnings,
    }
}

/// Asks for the next phase, where the phase wants to be asked.
#[utoipa::path(post, path = "/v1/accounts/{id}/promotion", tag = "accounts",
    params(("id" = String, Path), ("Idempotency-Key" = String, Header)), responses(
    (status = 200, body = Promoted), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 409, response = ProblemBody), (status = 503, response = ProblemBody)))]
async fn promote(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<Json<Promoted>, Problem> {
    own(&web, &caller, id).await?;
    submit(&web, &caller, id, key, Act::Promote, &[]).await?;
    Ok(Json(Promoted { passed: true }))
}
