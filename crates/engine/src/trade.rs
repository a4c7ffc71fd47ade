//! What an account does: places, changes and fills orders, opens and closes positions.

use kernel::{Amount, Price, Quantity, Rounding, Side, decimal};
use rules::{CloseReason, Closing, Fact, Moment, Opening};

use crate::command::{Act, Change, Done, Outcome, Place, Refusal};
use crate::instrument::MOST_EXPOSURE;
use crate::step::{Step, take_number};
use crate::{
    EngineError, EntryKind, Fill, FillReason, InstrumentId, Order, OrderKind, OrderState, Position,
    Readiness, Ticket, What,
};

/// Working orders and open positions that an account may have at a time.
pub const MOST_TICKETS: usize = 200;

impl Step<'_> {
    /// Carries a command out and settles what it changed. A refusal changes nothing.
    pub(crate) fn carry_out(&mut self, act: &Act) -> Result<Outcome, EngineError> {
        if !self.is_active() {
            if let Act::Hold { held } = act {
                return Ok(Ok(self.hold(*held)));
            }
            if let Act::Payout { amount } = act
                && self.pays_after_breach()
            {
                return if self.held.account.held { Ok(Err(Refusal::Held)) } else { self.pay(*amount) };
            }
            return Ok(Err(Refusal::AccountNotActive));
        }
        let outcome = match act {
            Act::Place(_) | Act::Promote | Act::Payout { .. } | Act::Grow if self.held.account.held => {
                Err(Refusal::Held)
            }
            // What waited for the end of a hold is looked at when this is settled.
            Act::Hold { held } => Ok(self.hold(*held)),
            Act::Promote => {
                self.judge_pass(true)?;
                let passed = self.held.account.status == crate::Status::Passed;
                if passed { Ok(Done::Promoted) } else { Err(Refusal::NotPassed) }
            }
            // What is held is worth what its last quote says, and that may be long ago.
            Act::Payout { .. } if self.holds_stale() => Err(Refusal::MarketStale),
            Act::Payout { amount } => self.pay(*amount)?,
            Act::Grow => self.grow()?,
            Act::Override { rule, to, reason, by } => {
                self.override_rule(*rule, to.as_deref(), reason, *by)?
            }
            Act::Calendar(events) => {
                self.tell(&Fact::Time)?;
                let at = self.at;
                self.account().track.learn(at, events)?;
                self.changed = true;
                Ok(Done::Noted)
            }
            Act::Open(_) => Ok(Done::Opened),
            Act::Place(place) => self.place(place)?,
            Act::Cancel { order } => self.cancel(*order),
            Act::ChangeOrder { order, price, stop_loss, take_profit } => {
                self.change_order(*order, *price, *stop_loss, *take_profit)?
            }
            Act::ChangePosition { position, stop_loss, take_profit } => {
                self.change_position(*position, *stop_loss, *take_profit)?
            }
            Act::Close { position, quantity } => self.close_by_trader(*position, *quantity)?,
        };
        if outcome.is_ok() {
            self.settle()?;
        }
        Ok(outcome)
    }

    fn place(&mut self, place: &Place) -> Result<Outcome, EngineError> {
        let instruments = self.market.instruments();
        let Some(id) = instruments.find(&place.symbol) else { return Ok(Err(Refusal::UnknownInstrument)) };
        let instrument = instruments.get(id)?;
        let currency = self.held.program.currency;
        if !self.held.program.terms.instruments.contains(&place.symbol) || !instruments.converts(id, currency)
        {
            return Ok(Err(Refusal::InstrumentNotInProgram));
        }
        let in_steps = place.quantity.0.checked_rem(instrument.quantity_step.0) == Some(0);
        if place.quantity < instrument.quantity_min || place.quantity > instrument.quantity_max || !in_steps {
            return Ok(Err(Refusal::QuantityOutOfRange));
        }
        if !self.exposure_fits(id, place.quantity)? {
            return Ok(Err(Refusal::QuantityOutOfRange));
        }
        if let Some(refusal) = self.not_ready(id) {
            return Ok(Err(refusal));
        }
        if !self.prices_fit(id, place.side, place.kind, place.stop_loss, place.take_profit)? {
            return Ok(Err(Refusal::PriceInvalid));
        }
        if self.held.account.track.held_back_at(self.at).is_some() {
            return Ok(Err(Refusal::AccountLocked));
        }
        let account = &self.held.account;
        if account.orders.len().saturating_add(account.positions.len()) >= MOST_TICKETS {
            return Ok(Err(Refusal::TooManyOrders));
        }
        let mut order = Order {
            ticket: Ticket(account.next.ticket),
            instrument: id,
            side: place.side,
            kind: place.kind,
            quantity: place.quantity,
            stop_loss: place.stop_loss,
            take_profit: place.take_profit,
            state: OrderState::Working,
            placed_at: self.at,
            done_at: None,
            position: None,
        };
        if let Some(rule) = self.objection(&order, Moment::Placed)? {
            return Ok(Err(Refusal::AgainstRule(rule)));
        }
        if place.kind == OrderKind::Market {
            if !self.margin_suffices(&order)? {
                return Ok(Err(Refusal::InsufficientMargin));
            }
            take_number(&mut self.account().next.ticket)?;
            self.fill(&mut order, FillReason::Market)?;
        } else {
            take_number(&mut self.account().next.ticket)?;
            self.account().orders.insert(order.ticket, order.clone());
            self.emit(What::Order(order.clone()));
            self.tell(&Fact::Ordered)?;
        }
        self.holdings_changed = true;
        Ok(Ok(Done::Order(order.ticket)))
    }

    /// Puts the account on hold, so that nothing opens on it any more, or lets it go. Says nothing if it is so already.
    fn hold(&mut self, held: bool) -> Done {
        if self.held.account.held != held {
            self.account().held = held;
            self.emit(What::Held { held });
            if held {
                self.take_orders_back(OrderState::AccountHeld);
            }
        }
        Done::Noted
    }

    fn cancel(&mut self, ticket: Ticket) -> Outcome {
        let at = self.at;
        let mut order = self.account().orders.remove(&ticket).ok_or(Refusal::OrderNotFound)?;
        order.state = OrderState::Cancelled;
        order.done_at = Some(at);
        self.emit(What::Order(order));
        self.holdings_changed = true;
        Ok(Done::Order(ticket))
    }

    fn change_order(
        &mut self,
        ticket: Ticket,
        price: Option<Price>,
        stop_loss: Change,
        take_profit: Change,
    ) -> Result<Outcome, EngineError> {
        let Some(order) = self.held.account.orders.get(&ticket) else {
            return Ok(Err(Refusal::OrderNotFound));
        };
        let kind = match (order.kind, price) {
            (kind, None) => kind,
            (OrderKind::Limit(_), Some(price)) => OrderKind::Limit(price),
            (OrderKind::Stop(_), Some(price)) => OrderKind::Stop(price),
            (OrderKind::Market, Some(_)) => return Ok(Err(Refusal::PriceInvalid)),
        };
        let (stop_loss, take_profit) =
            (stop_loss.applied(order.stop_loss), take_profit.applied(order.take_profit));
        if let Some(refusal) = self.not_ready(order.instrument) {
            return Ok(Err(refusal));
        }
        if !self.prices_fit(order.instrument, order.side, kind, stop_loss, take_profit)? {
            return Ok(Err(Refusal::PriceInvalid));
        }
        let Some(order) = self.account().orders.get_mut(&ticket) else {
            return Ok(Err(Refusal::OrderNotFound));
        };
        order.kind = kind;
        order.stop_loss = stop_loss;
        order.take_profit = take_profit;
        let order = order.clone();
        self.emit(What::Order(order));
        Ok(Ok(Done::Order(ticket)))
    }

    fn change_position(
        &mut self,
        ticket: Ticket,
        stop_loss: Change,
        take_profit: Change,
    ) -> Result<Outcome, EngineError> {
        let Some(position) = self.held.account.positions.get(&ticket) else {
            return Ok(Err(Refusal::PositionNotFound));
        };
        let (stop_loss, take_profit) =
            (stop_loss.applied(position.stop_loss), take_profit.applied(position.take_profit));
        if let Some(refusal) = self.not_ready(position.instrument) {
            return Ok(Err(refusal));
        }
        if !self.prices_fit(position.instrument, position.side, OrderKind::Market, stop_loss, take_profit)? {
            return Ok(Err(Refusal::PriceInvalid));
        }
        let Some(position) = self.account().positions.get_mut(&ticket) else {
            return Ok(Err(Refusal::PositionNotFound));
        };
        position.stop_loss = stop_loss;
        position.take_profit = take_profit;
        let position = position.clone();
        let Position { instrument, side, quantity, open_price, .. } = position;
        self.emit(What::Position(position));
        let risk = self.risk(instrument, side, quantity, open_price, stop_loss)?;
        self.tell(&Fact::StopMoved { trade: ticket.0, risk })?;
        Ok(Ok(Done::Position(ticket)))
    }

    fn close_by_trader(
        &mut self,
        ticket: Ticket,
        quantity: Option<Quantity>,
    ) -> Result<Outcome, EngineError> {
        let Some(position) = self.held.account.positions.get(&ticket) else {
            return Ok(Err(Refusal::PositionNotFound));
        };
        let quantity = quantity.unwrap_or(position.quantity);
        let instrument = self.market.instruments().get(position.instrument)?;
        let in_steps = quantity.0.checked_rem(instrument.quantity_step.0) == Some(0);
        if quantity.0 <= 0 || quantity > position.quantity || !in_steps {
            return Ok(Err(Refusal::QuantityOutOfRange));
        }
        if let Some(refusal) = self.not_ready(position.instrument) {
            return Ok(Err(refusal));
        }
        self.close(ticket, quantity, FillReason::Close)?;
        Ok(Ok(Done::Position(ticket)))
    }

    /// Whether everything held and waited for, with a size more, stays exact at the worst prices in range. No margin
    /// of an ordinary program reaches that far; it keeps an absurd one from stopping the shard.
    fn exposure_fits(&self, id: InstrumentId, quantity: Quantity) -> Result<bool, EngineError> {
        let (account, currency) = (&self.held.account, self.held.program.currency);
        let held = account.positions.values().map(|position| (position.instrument, position.quantity));
        let waited_for = account.orders.values().map(|order| (order.instrument, order.quantity));
        let mut exposure = 0_i128;
        for (id, quantity) in held.chain(waited_for).chain([(id, quantity)]) {
            let worth = self.market.instruments().most_worth(id, quantity, currency)?;
            exposure = exposure.checked_add(worth).ok_or(kernel::Overflow)?;
        }
        Ok(exposure <= MOST_EXPOSURE)
    }

    fn holds_stale(&self) -> bool {
        self.held.account.positions.values().any(|position| self.not_ready(position.instrument).is_some())
    }

    fn not_ready(&self, id: InstrumentId) -> Option<Refusal> {
        match self.market.readiness(id, self.held.program.currency, self.at) {
            Readiness::Ready => None,
            Readiness::NoQuote => Some(Refusal::NoQuote),
            Readiness::Stale => Some(Refusal::MarketStale),
        }
    }

    /// Whether every price is inside the range and on its side: an order's price on the side where it does not
    /// fire at once, a stop loss below and a take profit above for a buy, mirrored for a sell. Exits are measured
    /// from the order's price, or from the price at which the position would close now.
    fn prices_fit(
        &self,
        id: InstrumentId,
        side: Side,
        kind: OrderKind,
        stop_loss: Option<Price>,
        take_profit: Option<Price>,
    ) -> Result<bool, EngineError> {
        let quote = self.market.standing(id).ok_or(EngineError::MissingPrice)?.quote;
        let instrument = self.market.instruments().get(id)?;
        let in_range = |price: Option<Price>| price.is_none_or(|price| instrument.in_range(price));
        if ![kind.price(), stop_loss, take_profit].into_iter().all(in_range) {
            return Ok(false);
        }
        let waits = match (kind, side) {
            (OrderKind::Market, _) => true,
            (OrderKind::Limit(price), Side::Buy) => price < quote.ask,
            (OrderKind::Limit(price), Side::Sell) => price > quote.bid,
            (OrderKind::Stop(price), Side::Buy) => price > quote.ask,
            (OrderKind::Stop(price), Side::Sell) => price < quote.bid,
        };
        let (below, above) = match side {
            Side::Buy => (stop_loss, take_profit),
            Side::Sell => (take_profit, stop_loss),
        };
        let from = match (kind.price(), side) {
            (Some(price), _) => price,
            (None, Side::Buy) => quote.bid,
            (None, Side::Sell) => quote.ask,
        };
        Ok(waits && below.is_none_or(|price| price < from) && above.is_none_or(|price| price > from))
    }

    /// Whether equity covers the margin in use, the order's, and its commission.
    fn margin_suffices(&self, order: &Order) -> Result<bool, EngineError> {
        let program = &self.held.program;
        let price = self.open_price(order)?;
        let needed = self.market.margin(
            order.instrument,
            order.quantity,
            price,
            program.terms.leverage,
            program.currency,
        )?;
        let commission = self.commission(order.instrument, order.quantity)?;
        let equity = self.held.account.equity(self.market, program.currency)?;
        let free = equity.minus(self.held.account.margin()?)?;
        Ok(free >= needed.plus(commission)?)
    }

    fn open_price(&self, order: &Order) -> Result<Price, EngineError> {
        // What opens a side is what closes the other.
        self.market.close_price(order.instrument, order.side.opposite()).ok_or(EngineError::MissingPrice)
    }

    fn commission(&self, id: InstrumentId, quantity: Quantity) -> Result<Amount, EngineError> {
        let program = &self.held.program;
        let decimals = self.market.instruments().get(id)?.quantity_decimals;
        let lot = decimal::power_of_ten(decimals).ok_or(kernel::Overflow)?;
        let lot = i64::try_from(lot).map_err(|_| kernel::Overflow)?;
        let exact = program.terms.commission_per_lot.scaled(quantity.0, lot, Rounding::Ceiling)?;
        Ok(exact.rounded(program.currency, Rounding::Ceiling)?)
    }

    /// Fills an order at the opposite side of the standing quote.
    fn fill(&mut self, order: &mut Order, reason: FillReason) -> Result<(), EngineError> {
        let price = self.open_price(order)?;
        let terms = &self.held.program.terms;
        let currency = self.held.program.currency;
        let margin = self.market.margin(order.instrument, order.quantity, price, terms.leverage, currency)?;
        let commission = self.commission(order.instrument, order.quantity)?;
        let at = self.at;
        let account = self.account();
        let ticket = Ticket(take_number(&mut account.next.ticket)?);
        let number = take_number(&mut account.next.fill)?;
        let position = Position {
            ticket,
            instrument: order.instrument,
            side: order.side,
            quantity: order.quantity,
            opened_quantity: order.quantity,
            open_price: price,
            opened_at: at,
            stop_loss: order.stop_loss,
            take_profit: order.take_profit,
            margin,
            commission,
            realised: Amount::ZERO,
            closed_at: None,
            close_price: None,
            close_reason: None,
        };
        account.positions.insert(ticket, position.clone());
        order.state = OrderState::Filled;
        order.done_at = Some(at);
        order.position = Some(ticket);
        self.emit(What::Order(order.clone()));
        let quote_position =
            self.market.standing(order.instrument).ok_or(EngineError::MissingPrice)?.position;
        self.emit(What::Fill(Fill {
            number,
            position: ticket,
            order: Some(order.ticket),
            instrument: order.instrument,
            side: order.side,
            quantity: order.quantity,
            price,
            profit: Amount::ZERO,
            commission,
            reason,
            quote_position,
        }));
        self.emit(What::Position(position));
        self.charge(commission, number)?;
        self.traded = Some(order.instrument);
        self.holdings_changed = true;
        let opening = self.opening(order, ticket, price, commission)?;
        if order.kind == OrderKind::Market {
            self.tell(&Fact::Ordered)?;
        }
        self.tell(&Fact::Opened(opening))
    }

    /// A position as the rules see it open.
    fn opening(
        &self,
        order: &Order,
        ticket: Ticket,
        price: Price,
        cost: Amount,
    ) -> Result<Opening, EngineError> {
        let currency = self.held.program.currency;
        let instrument = self.market.instruments().get(order.instrument)?;
        Ok(Opening {
            trade: ticket.0,
            symbol: instrument.symbol.clone(),
            side: order.side,
            lots: instrument.lots(order.quantity)?,
            pending: order.kind != OrderKind::Market,
            risk: self.risk(order.instrument, order.side, order.quantity, price, order.stop_loss)?,
            notional: self.market.margin(order.instrument, order.quantity, price, 1, currency)?,
            cost,
        })
    }

    /// What a position would lose at its stop loss, at the standing rate.
    fn risk(
        &self,
        id: InstrumentId,
        side: Side,
        quantity: Quantity,
        open: Price,
        stop: Option<Price>,
    ) -> Result<Option<Amount>, EngineError> {
        let Some(stop) = stop else { return Ok(None) };
        let worth = self.market.worth_at(id, side, quantity, open, stop, self.held.program.currency)?;
        Ok(Some(worth.profit.negated()?))
    }

    /// The place of the rule that refuses the position this order would open, at its price or the market's.
    fn objection(&self, order: &Order, moment: Moment) -> Result<Option<u32>, EngineError> {
        let price = match (order.kind, moment) {
            (OrderKind::Limit(price) | OrderKind::Stop(price), Moment::Placed) => price,
            (OrderKind::Limit(_) | OrderKind::Stop(_) | OrderKind::Market, _) => self.open_price(order)?,
        };
        let cost = self.commission(order.instrument, order.quantity)?;
        let opening = self.opening(order, Ticket(self.held.account.next.ticket), price, cost)?;
        let equity = self.held.account.equity(self.market, self.held.program.currency)?;
        let scene = self.held.scene(self.at, equity);
        let found = rules::objection(&scene, &self.held.account.track, &opening, moment)?;
        Ok(found.and_then(|(rule, _, _)| u32::try_from(rule).ok()))
    }

    fn charge(&mut self, commission: Amount, fill: u32) -> Result<(), EngineError> {
        if commission == Amount::ZERO {
            return Ok(());
        }
        self.book(EntryKind::Commission, commission.negated()?, Some(fill))
    }

    /// Closes a position or a part of it at the standing quote. The result is rounded to the minor unit, ties to
    /// even; the margin of what stays is rounded up.
    pub(crate) fn close(
        &mut self,
        ticket: Ticket,
        quantity: Quantity,
        reason: FillReason,
    ) -> Result<(), EngineError> {
        let currency = self.held.program.currency;
        let at = self.at;
        let Some(mut position) = self.account().positions.remove(&ticket) else { return Ok(()) };
        let worth =
            self.market.worth(position.instrument, position.side, quantity, position.open_price, currency)?;
        let profit = worth.profit.rounded(currency, Rounding::HalfEven)?;
        let commission = self.commission(position.instrument, quantity)?;
        let left = position.quantity.0.checked_sub(quantity.0).ok_or(kernel::Overflow)?;
        position.margin = if left == 0 {
            Amount::ZERO
        } else {
            position
                .margin
                .scaled(left, position.quantity.0, Rounding::Ceiling)?
                .rounded(currency, Rounding::Ceiling)?
        };
        position.quantity = Quantity(left);
        position.commission = position.commission.plus(commission)?;
        position.realised = position.realised.plus(profit)?;
        if left == 0 {
            position.closed_at = Some(at);
            position.close_price = Some(worth.close_price);
            position.close_reason = Some(reason);
        }
        let number = take_number(&mut self.account().next.fill)?;
        let quote_position =
            self.market.standing(position.instrument).ok_or(EngineError::MissingPrice)?.position;
        self.emit(What::Fill(Fill {
            number,
            position: ticket,
            order: None,
            instrument: position.instrument,
            side: position.side.opposite(),
            quantity,
            price: worth.close_price,
            profit,
            commission,
            reason,
            quote_position,
        }));
        self.traded = Some(position.instrument);
        self.emit(What::Position(position.clone()));
        let lots = self.market.instruments().get(position.instrument)?.lots(quantity)?;
        if left > 0 {
            self.account().positions.insert(ticket, position);
        }
        self.book(EntryKind::Profit, profit, Some(number))?;
        self.charge(commission, number)?;
        self.holdings_changed = true;
        let reason = match reason {
            FillReason::StopLoss => CloseReason::StopLoss,
            FillReason::TakeProfit => CloseReason::TakeProfit,
            FillReason::Close | FillReason::Market | FillReason::Limit | FillReason::Stop => {
                CloseReason::Trader
            }
            FillReason::StopOut | FillReason::Liquidation => CloseReason::Platform,
        };
        let profit = profit.minus(commission)?;
        self.tell(&Fact::Closed(Closing { trade: ticket.0, lots, profit, reason, whole: left == 0 }))
    }

    /// Fires exits of positions and then working orders, each by ticket, at the standing quote; true if any did.
    /// What opens here is looked at again with the next quote.
    pub(crate) fn fire_triggers(&mut self) -> Result<bool, EngineError> {
        let mut exits = Vec::new();
        for position in self.held.account.positions.values() {
            let Some(now) = self.market.close_price(position.instrument, position.side) else { continue };
            let (stopped, taken) = match position.side {
                Side::Buy => (
                    position.stop_loss.is_some_and(|at| now <= at),
                    position.take_profit.is_some_and(|at| now >= at),
                ),
                Side::Sell => (
                    position.stop_loss.is_some_and(|at| now >= at),
                    position.take_profit.is_some_and(|at| now <= at),
                ),
            };
            if stopped {
                exits.push((position.ticket, position.quantity, FillReason::StopLoss));
            } else if taken {
                exits.push((position.ticket, position.quantity, FillReason::TakeProfit));
            }
        }
        let mut entries = Vec::new();
        for order in self.held.account.orders.values() {
            let Some(now) = self.market.close_price(order.instrument, order.side.opposite()) else {
                continue;
            };
            let reason = match (order.kind, order.side) {
                (OrderKind::Limit(at), Side::Buy) if now <= at => FillReason::Limit,
                (OrderKind::Limit(at), Side::Sell) if now >= at => FillReason::Limit,
                (OrderKind::Stop(at), Side::Buy) if now >= at => FillReason::Stop,
                (OrderKind::Stop(at), Side::Sell) if now <= at => FillReason::Stop,
                (OrderKind::Market | OrderKind::Limit(_) | OrderKind::Stop(_), _) => continue,
            };
            entries.push((order.ticket, reason));
        }
        let fired = !exits.is_empty() || !entries.is_empty();
        for (ticket, quantity, reason) in exits {
            self.close(ticket, quantity, reason)?;
        }
        for (ticket, reason) in entries {
            let Some(mut order) = self.account().orders.remove(&ticket) else { continue };
            self.holdings_changed = true;
            let refused = self.objection(&order, Moment::Opens)?.is_some();
            if !refused && self.margin_suffices(&order)? {
                self.fill(&mut order, reason)?;
            } else {
                order.state = if refused { OrderState::AgainstRule } else { OrderState::NoMargin };
                order.done_at = Some(self.at);
                self.emit(What::Order(order));
            }
        }
        Ok(fired)
    }
}
