//! What the rules say about an account, and the evidence for it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use kernel::{AccountId, Amount, Overflow, PersonId};
use rules::payout::Decision;
use rules::{Deadline, Effect, Fact, Figure, Figured, Finding, Floor, Promotion, Rule, Scene, Track, Worth};

use crate::command::{Done, Open, Outcome, Refusal};
use crate::step::{Step, take_number};
use crate::{
    Cause, EngineError, EntryKind, FillReason, InstrumentId, OrderState, Override, Quoted, Rate, Status,
    Ticket, Valued, Verdict, VerdictKind, What,
};

/// A finding that carries no numbers of its own.
fn said(kind: &'static str, rule: usize) -> Finding {
    Finding { rule, kind: Cow::Borrowed(kind), effect: Effect::Warn, trade: None, figures: Vec::new() }
}

impl Step<'_> {
    /// Tests what the account is worth against every floor; true if the account is over. A new peak raises the floors
    /// that follow it before they are tested: it cannot cross them, being above every earlier value. Peaks of the equity
    /// are kept only where a rule asks for them.
    pub(crate) fn judge_loss(&mut self, at_reset: bool) -> Result<bool, EngineError> {
        while self.is_active() {
            let account = &mut self.held.account;
            let balance = account.balance;
            let equity = account.equity(self.market, self.held.program.currency)?;
            let seen = self.held.needs_peaks.then_some(equity);
            if account.track.observe(&self.held.phase, self.at, balance, seen)? {
                self.held.refresh_floors()?;
                self.changed = true;
            }
            let worth = Worth { balance, equity, at_reset };
            let Some(floor) = rules::breached(&self.held.floors, worth).cloned() else { return Ok(false) };
            let finding = floor.finding(worth)?;
            let (rule, effect) = (finding.rule, finding.effect);
            let told = floor.told();
            let verdict = self.evidence(VerdictKind::of(effect), finding, Some(floor), None)?;
            self.emit(What::Verdict(Box::new(verdict)));
            self.held.account.track.warned.extend(told);
            self.act_on(rule, effect)?;
        }
        Ok(true)
    }

    /// Passes the phase if everything it asks for holds, and it need not be asked or was. An account on hold waits: it is
    /// looked at again when it is let go.
    pub(crate) fn judge_pass(&mut self, asked: bool) -> Result<(), EngineError> {
        if self.held.account.held {
            return Ok(());
        }
        if self.held.phase.promotion == Promotion::OnRequest && !asked || !self.has_passed()? {
            return Ok(());
        }
        let held = self.held.account.track.held_back;
        self.tell(&Fact::Review)?;
        // Who is held back by what the review found has not passed yet.
        if held != self.held.account.track.held_back || !self.is_active() || !self.has_passed()? {
            return Ok(());
        }
        let account = &self.held.account;
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
        let is_target = |rule: &Rule| matches!(rule, Rule::ProfitTarget(_));
        let rule = self.held.phase.rules.iter().position(is_target).unwrap_or_default();
        let verdict = self.evidence(VerdictKind::Pass, said("profit_target", rule), None, None)?;
        self.emit(What::Verdict(Box::new(verdict)));
        self.end(Status::Passed, rule)
    }

    fn has_passed(&self) -> Result<bool, EngineError> {
        let account = &self.held.account;
        let equity = account.equity(self.market, self.held.program.currency)?;
        let scene = self.held.scene(self.at, equity);
        if !rules::target_reached(&scene, &account.track)? {
            return Ok(false);
        }
        let objectives = rules::objectives(&scene, &account.track)?;
        Ok(rules::passed(&scene, &objectives, account.positions.is_empty(), !account.orders.is_empty()))
    }

    /// The account was opened because another passed.
    pub(crate) fn promoted(&mut self, from: AccountId) -> Result<(), EngineError> {
        let mut verdict = self.evidence(VerdictKind::Promotion, said("profit_target", 0), None, None)?;
        verdict.from = Some(from);
        self.emit(What::Verdict(Box::new(verdict)));
        Ok(())
    }

    /// Ends the account: everything is closed and taken back.
    pub(crate) fn end(&mut self, status: Status, rule: usize) -> Result<(), EngineError> {
        let at = self.at;
        let kind = self.held.phase.rule(rule).map_or(rules::RUIN, |rule| rule.kind());
        let account = self.account();
        account.track.ended = Some((Cow::Borrowed(kind), at));
        account.status = status;
        account.closed_at = Some(at);
        self.flatten(OrderState::AccountEnded)
    }

    /// Pays out what was asked for, or says which condition does not hold. Either is a verdict.
    pub(crate) fn pay(&mut self, amount: Option<Amount>) -> Result<Outcome, EngineError> {
        if self.is_active() {
            self.tell(&Fact::Review)?;
            if !self.is_active() {
                return Ok(Err(Refusal::AccountNotActive));
            }
        }
        let program = std::sync::Arc::clone(&self.held.program);
        let phase = std::sync::Arc::clone(&self.held.phase);
        let Some(payout) = &phase.payout else { return Ok(Err(Refusal::PayoutRefused)) };
        let Decision { allowed, taken, precheck } = self.payout_decision(payout, amount)?;
        let kind = if allowed { VerdictKind::Payout } else { VerdictKind::PayoutRefusal };
        let mut finding = said("payout", phase.rules.len());
        finding.figures = precheck.figures;
        let mut verdict = self.evidence(kind, finding, None, None)?;
        verdict.objectives = precheck.conditions;
        self.emit(What::Verdict(Box::new(verdict)));
        if !allowed {
            return Ok(Err(Refusal::PayoutRefused));
        }
        let equity = self.held.account.equity(self.market, program.currency)?;
        let account = &mut self.held.account;
        let scene = Scene { phase: &phase, calendar: &[], at: self.at, balance: account.balance, equity };
        let left = payout.pay(&scene, &mut account.track, taken)?;
        let change = left.minus(account.balance)?;
        self.book(EntryKind::Payout, change, None)?;
        self.held.refresh_floors()?;
        Ok(Ok(Done::Paid(taken)))
    }

    /// Whether the program still pays something after the rule that ended the account.
    pub(crate) fn pays_after_breach(&self) -> bool {
        self.held.account.status == Status::Breached
            && self.held.phase.payout.as_ref().is_some_and(|payout| payout.after_breach.is_some())
    }

    fn payout_decision(
        &self,
        payout: &rules::Payout,
        asked: Option<Amount>,
    ) -> Result<Decision, EngineError> {
        let account = &self.held.account;
        let program = &self.held.program;
        let equity = account.equity(self.market, program.currency)?;
        let scene = self.held.scene(self.at, equity);
        let (clocks, holding) = (program.clocks(), account.holding());
        Ok(payout.decide(&scene, &account.track, clocks, program.currency, holding, asked)?)
    }

    /// Grows the account by one step of its plan.
    pub(crate) fn grow(&mut self) -> Result<Outcome, EngineError> {
        let program = std::sync::Arc::clone(&self.held.program);
        let phase = std::sync::Arc::clone(&self.held.phase);
        let Some(scaling) = &phase.scaling else { return Ok(Err(Refusal::NotGrowing)) };
        let equity = self.held.account.equity(self.market, program.currency)?;
        let account = &mut self.held.account;
        let scene = Scene { phase: &phase, calendar: &[], at: self.at, balance: account.balance, equity };
        let figures = scaling.figures(&scene, &account.track, program.clocks())?;
        let eligible = |figured: &Figured| figured.name == "eligible" && figured.value == Figure::Flag(true);
        if !figures.iter().any(eligible) {
            return Ok(Err(Refusal::NotGrowing));
        }
        let balance = scaling.grow(&scene, &mut account.track)?;
        let more = balance.minus(account.balance)?;
        self.book(EntryKind::Growth, more, None)?;
        self.held.refresh_floors()?;
        Ok(Ok(Done::Grown))
    }

    /// Lets another rule hold for this account.
    pub(crate) fn override_rule(
        &mut self,
        place: u32,
        to: Option<&Rule>,
        reason: &str,
        by: PersonId,
    ) -> Result<Outcome, EngineError> {
        let place = usize::try_from(place).map_err(|_| Overflow)?;
        let program = std::sync::Arc::clone(&self.held.program);
        let own = program.phases.get(self.held.account.phase);
        let Some(own) = own.and_then(|phase| phase.rules.get(place)) else {
            return Ok(Err(Refusal::OverrideInvalid));
        };
        // Up to now the rule that held until now is the one that speaks.
        self.tell(&Fact::Time)?;
        match to {
            Some(rule) if rule.kind() == own.kind() && rule.check().is_ok() => {
                self.held.account.track.overrides.insert(place, rule.clone());
            }
            Some(_) => return Ok(Err(Refusal::OverrideInvalid)),
            None => {
                self.held.account.track.overrides.remove(&place);
            }
        }
        self.held.apply_overrides()?;
        let to = to.cloned();
        self.emit(What::Override(Override { rule: place, to, reason: reason.to_owned(), by }));
        Ok(Ok(Done::Noted))
    }

    pub(crate) fn evidence(
        &mut self,
        kind: VerdictKind,
        finding: Finding,
        floor: Option<Floor>,
        told: Option<(&Fact, Track)>,
    ) -> Result<Verdict, EngineError> {
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
        let scene = self.held.scene(self.at, equity);
        let deadline = |deadline: &Deadline| deadline.rule == finding.rule && deadline.at <= self.at;
        let judged = told.as_ref().map_or(&account.track, |(_, before)| before);
        let scene = Scene { calendar: &judged.calendar, ..scene };
        let deadlines = rules::deadlines(&scene, judged)?;
        let objectives = rules::objectives(&scene, judged)?;
        Ok(Verdict {
            number,
            kind,
            rule: finding.kind,
            rule_index: finding.rule,
            effect: finding.effect,
            version: account.version.clone(),
            phase: account.phase,
            cause: self.cause,
            balance: account.balance,
            equity,
            floor,
            floors: self.held.floors.clone(),
            objectives,
            deadline: deadlines.into_iter().find(deadline),
            trade: finding.trade.map(Ticket),
            figures: finding.figures,
            fact: told.as_ref().map(|(fact, _)| (*fact).clone()),
            track: told.map_or_else(|| account.track.clone(), |(_, before)| before),
            orders: account.orders.len(),
            from: None,
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
            if self.judge_loss(false)? {
                return Ok(closed);
            }
        }
    }
}
