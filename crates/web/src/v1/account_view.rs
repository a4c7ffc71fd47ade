//! An account as people see it, computed from the engine's view.

use engine::{Instruments, Order, Position, View};
use kernel::{Amount, Currency};
use rules::Worth;
use serde::Serialize;
use utoipa::ToSchema;

use super::text::time;
use super::words::{AccountStatus, Comparison, Effect, FillReason, OrderKind, OrderReason, OrderState, Side};
use crate::problem::Problem;

/// A phase within its program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PhaseRef)]
pub struct PhaseView {
    /// From 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// How many phases there are.
    pub of: usize,
}

/// Which program, in which version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProgramRef {
    /// Its name in addresses.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// Hash of its content.
    pub version: String,
}

/// A floor and the room above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Floor)]
pub struct FloorView {
    /// The rule's kind.
    pub rule: String,
    /// For people.
    pub label: String,
    /// The equity below or at which the rule fires.
    pub floor: String,
    /// Equity minus floor, exact.
    pub room: String,
    /// The loss allowed from the reference.
    pub limit: String,
    /// When it is crossed.
    pub comparison: Comparison,
    /// Whether it caps from above: the rule fires when equity rises to it.
    pub cap: bool,
    /// What happens when it is crossed.
    pub effect: Effect,
    /// Whether it no longer moves.
    pub locked: bool,
    /// How the floor follows from its reference.
    pub derivation: String,
}

/// A condition of passing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Objective)]
pub struct ObjectiveView {
    /// The rule's kind.
    pub rule: String,
    /// For people.
    pub label: String,
    /// To reach: an amount or a count of days.
    pub target: String,
    /// Reached so far.
    pub current: String,
    /// Whether it holds now.
    pub met: bool,
}

/// The running trading day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Day)]
pub struct DayView {
    /// Its name.
    pub date: String,
    /// When it began.
    pub started_at: String,
    /// Balance then.
    pub start_balance: String,
    /// Equity then.
    pub start_equity: String,
}

/// The next reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = NextReset)]
pub struct ResetView {
    /// The instant.
    pub at: String,
    /// The program's zone.
    pub zone: String,
    /// The instant on that zone's clock.
    pub local: String,
}

/// An account with its live numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Account {
    /// Its id.
    pub id: String,
    /// Short, for people.
    pub number: String,
    /// Its challenge.
    pub challenge_id: String,
    /// Its program.
    pub program: ProgramRef,
    /// Its phase.
    pub phase: PhaseView,
    /// Where it stands.
    pub status: AccountStatus,
    /// Whether it is on hold because a payment for its challenge is disputed: it opens nothing, is not paid, does not grow and
    /// passes no phase until the hold ends. Closing, cancelling and moving exits is possible, and every rule goes on.
    pub held: bool,
    /// Currency of every amount.
    pub currency: &'static str,
    /// Such as `1:100`.
    pub leverage: String,
    /// Balance at opening.
    pub initial_balance: String,
    /// Closed results.
    pub balance: String,
    /// Balance and open results.
    pub equity: String,
    /// Open results.
    pub floating: String,
    /// Margin bound.
    pub margin_used: String,
    /// Equity minus margin bound.
    pub margin_free: String,
    /// Room to the nearest floor.
    pub room: String,
    /// Every floor.
    pub floors: Vec<FloorView>,
    /// What passing needs.
    pub objectives: Vec<ObjectiveView>,
    /// The running day.
    pub day: DayView,
    /// When it ends.
    pub next_reset: ResetView,
    /// When it opened.
    pub opened_at: String,
    /// When it ended.
    #[schema(required)]
    pub closed_at: Option<String>,
    /// Time of the last input seen.
    pub as_of: String,
}

/// An open or closed position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Position)]
pub struct PositionView {
    /// Its number within the account.
    pub ticket: u32,
    /// What.
    pub symbol: String,
    /// Which way.
    pub side: Side,
    /// Lots still open; for a closed one, lots it opened with.
    pub quantity: String,
    /// Opened at.
    pub open_price: String,
    /// When.
    pub opened_at: String,
    /// What it would close at now.
    #[schema(required)]
    pub current_price: Option<String>,
    /// Its stop loss.
    #[schema(required)]
    pub stop_loss: Option<String>,
    /// Its take profit.
    #[schema(required)]
    pub take_profit: Option<String>,
    /// Margin it binds.
    pub margin: String,
    /// Open result; for a closed one, the realised.
    pub profit: String,
    /// Commission charged so far.
    pub commission: String,
    /// When it closed.
    #[schema(required)]
    pub closed_at: Option<String>,
    /// At which price.
    #[schema(required)]
    pub close_price: Option<String>,
    /// Why.
    #[schema(required)]
    pub close_reason: Option<FillReason>,
}

/// An order to trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Order)]
pub struct OrderView {
    /// Its number within the account.
    pub ticket: u32,
    /// What.
    pub symbol: String,
    /// Which way.
    pub side: Side,
    /// How it is filled.
    pub kind: OrderKind,
    /// Lots.
    pub quantity: String,
    /// For a limit or stop.
    #[schema(required)]
    pub price: Option<String>,
    /// Given to the position it opens.
    #[schema(required)]
    pub stop_loss: Option<String>,
    /// Given to the position it opens.
    #[schema(required)]
    pub take_profit: Option<String>,
    /// Where it stands.
    pub state: OrderState,
    /// Why it ended without a fill.
    #[schema(required)]
    pub reason: Option<OrderReason>,
    /// When it came.
    pub placed_at: String,
    /// When it stopped working.
    #[schema(required)]
    pub done_at: Option<String>,
    /// The position it opened.
    #[schema(required)]
    pub position: Option<u32>,
}

/// A message of the live stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LiveAccount {
    /// The account.
    #[serde(flatten)]
    pub account: Account,
    /// Its open positions.
    pub positions: Vec<PositionView>,
    /// Its working orders.
    pub orders: Vec<OrderView>,
}

fn bug(_: kernel::Overflow) -> Problem {
    Problem::new("internal", "A number left its range.")
}

/// Renders an account.
pub fn account(view: &View, slug: &str) -> Result<Account, Problem> {
    let account = &view.account;
    let program = &view.program;
    let currency = program.currency;
    let text = |amount: Amount| amount.text(currency);
    let mut floors = Vec::with_capacity(view.floors.len());
    let mut nearest: Option<Amount> = None;
    let worth = Worth { balance: account.balance, equity: view.equity, at_reset: false };
    for floor in view.floors.iter().filter(|floor| floor.effect != rules::Effect::Warn) {
        let room = floor.room(worth).map_err(bug)?;
        nearest = Some(nearest.map_or(room, |nearest| nearest.min(room)));
        floors.push(FloorView {
            rule: floor.kind.to_string(),
            label: engine::label(&floor.kind),
            cap: floor.cap,
            effect: floor.effect.into(),
            locked: floor.locked_at.is_some(),
            floor: text(floor.amount),
            room: text(room),
            limit: text(floor.limit),
            comparison: floor.comparison.into(),
            derivation: derivation(floor, currency),
        });
    }
    let objectives = view.objectives.iter().map(|objective| ObjectiveView {
        rule: objective.kind.to_string(),
        label: engine::label(&objective.kind),
        target: figure_text(&objective.target, currency),
        current: figure_text(&objective.current, currency),
        met: objective.met,
    });
    let phase = program.phases.get(account.phase);
    let local = program.reset.local(account.track.next_reset).unwrap_or_default();
    Ok(Account {
        id: account.id.to_string(),
        number: account.id.label(),
        challenge_id: account.challenge.to_string(),
        program: ProgramRef {
            slug: slug.to_owned(),
            name: program.name.clone(),
            version: account.version.to_string(),
        },
        phase: PhaseView {
            index: account.phase,
            name: phase.map(|phase| phase.name.clone()).unwrap_or_default(),
            of: program.phases.len(),
        },
        status: account.status.into(),
        held: account.held,
        currency: currency.code(),
        leverage: format!("1:{}", program.terms.leverage),
        initial_balance: text(account.track.initial),
        balance: text(account.balance),
        equity: text(view.equity),
        floating: text(view.equity.minus(account.balance).map_err(bug)?),
        margin_used: text(view.margin),
        margin_free: text(view.equity.minus(view.margin).map_err(bug)?),
        room: text(nearest.unwrap_or(Amount::ZERO)),
        floors,
        objectives: objectives.collect(),
        day: DayView {
            date: account.track.day.to_string(),
            started_at: time(account.track.day_started_at),
            start_balance: text(account.track.day_start_balance),
            start_equity: text(account.track.day_start_equity),
        },
        next_reset: ResetView {
            at: time(account.track.next_reset),
            zone: program.reset.zone().to_owned(),
            local,
        },
        opened_at: time(account.track.opened_at),
        closed_at: account.closed_at.map(time),
        as_of: time(view.as_of),
    })
}

/// Renders an account with what it holds.
pub fn live(view: &View, slug: &str, instruments: &Instruments) -> Result<LiveAccount, Problem> {
    let currency = view.program.currency;
    let mut positions = Vec::with_capacity(view.account.positions.len());
    for (ticket, position) in &view.account.positions {
        let worth = view.worth.get(ticket);
        let instrument = instruments.get(position.instrument).map_err(bug)?;
        let mut rendered = position_view(position, instruments, currency)?;
        rendered.current_price = worth.map(|worth| instrument.price_text(worth.close_price));
        rendered.profit = worth.map_or_else(String::new, |worth| worth.profit.text(currency));
        positions.push(rendered);
    }
    let orders = view.account.orders.values().map(|order| order_view(order, instruments));
    Ok(LiveAccount { account: account(view, slug)?, positions, orders: orders.collect::<Result<_, _>>()? })
}

/// Renders a position; its profit is the realised part.
pub fn position_view(
    position: &Position,
    instruments: &Instruments,
    currency: Currency,
) -> Result<PositionView, Problem> {
    let instrument = instruments.get(position.instrument).map_err(bug)?;
    let price = |price| instrument.price_text(price);
    let quantity = if position.closed_at.is_some() { position.opened_quantity } else { position.quantity };
    Ok(PositionView {
        ticket: position.ticket.0,
        symbol: instrument.symbol.to_string(),
        side: position.side.into(),
        quantity: instrument.quantity_text(quantity),
        open_price: price(position.open_price),
        opened_at: time(position.opened_at),
        current_price: None,
        stop_loss: position.stop_loss.map(price),
        take_profit: position.take_profit.map(price),
        margin: position.margin.text(currency),
        profit: position.realised.text(currency),
        commission: position.commission.text(currency),
        closed_at: position.closed_at.map(time),
        close_price: position.close_price.map(price),
        close_reason: position.close_reason.map(FillReason::from),
    })
}

/// Renders an order.
pub fn order_view(order: &Order, instruments: &Instruments) -> Result<OrderView, Problem> {
    let instrument = instruments.get(order.instrument).map_err(bug)?;
    let price = |price| instrument.price_text(price);
    Ok(OrderView {
        ticket: order.ticket.0,
        symbol: instrument.symbol.to_string(),
        side: order.side.into(),
        kind: order.kind.into(),
        quantity: instrument.quantity_text(order.quantity),
        price: order.kind.price().map(price),
        stop_loss: order.stop_loss.map(price),
        take_profit: order.take_profit.map(price),
        state: order.state.into(),
        reason: OrderReason::of(order.state),
        placed_at: time(order.placed_at),
        done_at: order.done_at.map(time),
        position: order.position.map(|ticket| ticket.0),
    })
}

/// How a floor follows from its reference, as a sentence.
pub fn derivation(floor: &rules::Floor, currency: Currency) -> String {
    engine::derivation(floor, &|amount| amount.grouped(currency))
}

/// A number of a rule as text: an amount without its currency, a share in per cent.
pub fn figure_text(figure: &rules::Figure, currency: Currency) -> String {
    engine::shown(figure, &|amount| amount.text(currency)).into_owned()
}
