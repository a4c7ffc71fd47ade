//! What the rules say about an account, and the evidence for it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use kernel::{Amount, Overflow};
use rules::{Deadline, Floor};

use crate::command::Open;
use crate::step::{Step, take_number};
use crate::{
    Cause, EngineError, FillReason, InstrumentId, OrderState, Quoted, Rate, Status, Valued, Verdict,
    VerdictKind, What,
};

/// What a rule found.
struct Finding {
    kind: VerdictKind,
    rule: Cow<'static, str>,
    rule_index: usize,
    floor: Option<Floor>,
    deadline: Option<Deadline>,
}

impl Step<'_> {
    /// Tests the equity against every floor; true if the account is over. A new peak raises the floors that
    /// follow it before they are tested: it cannot cross them, being above every earlier equity. Peaks are kept
    /// only where a rule asks for them.
    pub(crate) fn judge_loss(&mut self) -> Result<bool, EngineError> {
        let equity = self.held.account.equity(self.market, self.held.program.currency)?;
        if self.held.trails_equity && self.held.account.track.observe(equity) {
            self.held.refresh_floors()?;
            self.changed = true;
        }
        let Some(floor) = rules::breached(&self.held.floors, equity).cloned() else { return Ok(false) };
        self.end(Finding {
            kind: VerdictKind::Breach,
            rule: floor.kind.clone(),
            rule_index: floor.rule,
            floor: Some(floor),
            deadline: None,
        })?;
        Ok(true)
    }

    pub(crate) fn judge_pass(&mut self) -> Result<(), EngineError> {
        let account = &self.held.account;
        let phase = self.held.rules()?;
        let objectives = rules::objectives(phase, &account.track, account.balance)?;
        let equity = account.equity(self.market, self.held.program.currency)?;
        if !rules::passed(phase, &objectives, account.positions.is_empty(), equity) {
            return Ok(());
        }
        let target = objectives.iter().find(|objective| objective.kind == "profit_target");
        let rule_index = target.map_or(0, |target| target.rule);
        let next = account.phase.checked_add(1).ok_or(Overflow)?;
        let successor = Open {
            firm: account.firm,
            challenge: account.challenge,
            version: account.version.clone(),
            phase: next,
        };
        if next < self.held.program.phases.len() {
            self.successor = Some(successor);
        }
        self.end(Finding {
            kind: VerdictKind::Pass,
            rule: Cow::Borrowed("profit_target"),
            rule_index,
            floor: None,
            deadline: None,
        })
    }

    pub(crate) fn judge_deadline(&mut self) -> Result<(), EngineError> {
        if !self.is_active() {
            return Ok(());
        }
        let deadlines = rules::deadlines(self.held.rules()?, &self.held.account.track)?;
        let Some(reached) = deadlines.into_iter().find(|deadline| deadline.at <= self.at) else {
            return Ok(());
        };
        self.end(Finding {
            kind: VerdictKind::Expiry,
            rule: reached.kind.clone(),
            rule_index: reached.rule,
            floor: None,
            deadline: Some(reached),
        })
    }

    /// Ends the account: the verdict with its evidence first, then everything is closed and taken back.
    fn end(&mut self, finding: Finding) -> Result<(), EngineError> {
        let status = match finding.kind {
            VerdictKind::Breach => Status::Breached,
            VerdictKind::Pass => Status::Passed,
            VerdictKind::Expiry => Status::Expired,
        };
        let verdict = self.evidence(finding)?;
        self.emit(What::Verdict(Box::new(verdict)));
        let at = self.at;
        let account = self.account();
        account.status = status;
        account.closed_at = Some(at);
        let open: Vec<_> =
            account.positions.iter().map(|(ticket, position)| (*ticket, position.quantity)).collect();
        for (ticket, quantity) in open {
            self.close(ticket, quantity, FillReason::Liquidation)?;
        }
        for mut order in std::mem::take(&mut self.account().orders).into_values() {
            order.state = OrderState::AccountEnded;
            order.done_at = Some(at);
            self.emit(What::Order(order));
        }
        self.holdings_changed = true;
        Ok(())
    }

    fn evidence(&mut self, finding: Finding) -> Result<Verdict, EngineError> {
        let number = take_number(&mut self.held.account.next.verdict)?;
        let account = &self.held.account;
        let currency = self.held.program.currency;
        let instruments = self.market.instruments();
        let mut used = BTreeSet::new();
        let mut positions = Vec::with_capacity(account.positions.len());
        let mut equity = account.balance;
        for position in account.positions.values() {
            let instrument = instruments.get(position.instrument)?;
            let worth = position.worth(self.market, currency)?;
            equity = equity.plus(worth.profit)?;
            used.insert(position.instrument);
            let rate = match worth.rate {
                None => None,
                Some((id, price)) => {
                    used.insert(id);
                    let multiply =
                        instruments.route(instrument.quote, currency).is_some_and(|route| route.multiply);
                    let at = instruments.get(id)?;
                    Some(Rate { symbol: at.symbol.to_string(), price: at.price_text(price), multiply })
                }
            };
            positions.push(Valued {
                ticket: position.ticket,
                symbol: instrument.symbol.to_string(),
                side: position.side,
                quantity: instrument.quantity_text(position.quantity),
                contract_size: instrument.contract_size,
                open_price: instrument.price_text(position.open_price),
                close_price: instrument.price_text(worth.close_price),
                quote_currency: instrument.quote.to_string(),
                profit_in_quote: worth.in_quote,
                rate,
                profit: worth.profit,
            });
        }
        if let Cause::Quote(position) = self.cause {
            let caused = self.market.all().iter().flatten().find(|standing| standing.position == position);
            used.extend(caused.map(|standing| standing.quote.instrument));
        }
        used.extend(self.traded);
        Ok(Verdict {
            number,
            kind: finding.kind,
            rule: finding.rule,
            rule_index: finding.rule_index,
            version: account.version.clone(),
            phase: account.phase,
            cause: self.cause,
            balance: account.balance,
            equity,
            floor: finding.floor,
            floors: self.held.floors.clone(),
            objectives: rules::objectives(self.held.rules()?, &account.track, account.balance)?,
            deadline: finding.deadline,
            positions,
            quotes: self.quoted(&used)?,
        })
    }

    fn quoted(&self, used: &BTreeSet<InstrumentId>) -> Result<Vec<Quoted>, EngineError> {
        let mut quotes = Vec::with_capacity(used.len());
        for id in used {
            let standing = self.market.standing(*id).ok_or(EngineError::MissingPrice)?;
            let instrument = self.market.instruments().get(*id)?;
            quotes.push(Quoted {
                symbol: instrument.symbol.to_string(),
                source: instrument.source.clone(),
                bid: instrument.price_text(standing.quote.bid),
                ask: instrument.price_text(standing.quote.ask),
                source_time: standing.quote.source_time,
                received_at: standing.received_at,
                position: standing.position,
            });
        }
        Ok(quotes)
    }

    /// Closes positions, the worst first, while equity is below the stop-out share of the margin; true if it did.
    pub(crate) fn stop_out(&mut self) -> Result<bool, EngineError> {
        let mut closed = false;
        loop {
            let account = &self.held.account;
            let margin = account.margin()?;
            let needed = margin.share(self.held.program.terms.stop_out, kernel::Rounding::Ceiling)?;
            let currency = self.held.program.currency;
            if margin == Amount::ZERO || account.equity(self.market, currency)? >= needed {
                return Ok(closed);
            }
            let mut worst = None;
            for position in account.positions.values() {
                let profit = position.worth(self.market, currency)?.profit;
                if worst.is_none_or(|(least, _, _)| profit < least) {
                    worst = Some((profit, position.ticket, position.quantity));
                }
            }
            let Some((_, ticket, quantity)) = worst else { return Ok(closed) };
            self.close(ticket, quantity, FillReason::StopOut)?;
            closed = true;
            if self.judge_loss()? {
                return Ok(closed);
            }
        }
    }
}
