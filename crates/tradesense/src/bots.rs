//! Traders made of code, so that a demonstration's charts and leaderboard live. They buy like everybody else and act
//! through the desk like everybody else; each is one plain strategy.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use app::identity::{Password, Registration};
use app::trading::{LoggedQuote, Origin};
use app::{Actor, Context, Role};
use engine::{Act, Command, Instrument, InstrumentId, Key, OrderKind, Place, Status, View};
use kernel::{AccountId, ChallengeId, FirmId, Price, Quantity, RequestId, Rng, SeededRng, Side};
use tokio::task::JoinHandle;
use web::Web;

/// Between two looks of a bot at the market.
const LOOK: Duration = Duration::from_secs(2);

/// How a bot trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    /// With the last minute's direction.
    Momentum,
    /// Against it.
    Reversion,
    /// Stop orders around the market.
    Breakout,
    /// Small and quick.
    Scalper,
    /// A coin, with far too much.
    Gambler,
}

const BOTS: [(&str, Strategy, &str, &str); 8] = [
    ("Ada Trend", Strategy::Momentum, "EURUSD", "sprint-25k"),
    ("Bela Fade", Strategy::Reversion, "XAUUSD", "sprint-25k"),
    ("Cleo Range", Strategy::Breakout, "EURUSD", "sprint-25k"),
    ("Dov Quick", Strategy::Scalper, "GBPUSD", "sprint-25k"),
    ("Eli Allin", Strategy::Gambler, "XAUUSD", "sprint-25k"),
    ("Fay Carry", Strategy::Momentum, "USDJPY", "two-step-100k"),
    ("Gus Steady", Strategy::Reversion, "EURUSD", "one-step-50k"),
    ("Hana Storm", Strategy::Breakout, "XAUUSD", "one-step-50k"),
];

/// Bids that a bot remembers: one minute of looks.
const MEMORY: usize = 24;

struct Bot {
    name: &'static str,
    web: Web,
    context: Context,
    strategy: Strategy,
    symbol: &'static str,
    program: &'static str,
    rng: SeededRng,
    account: Option<AccountId>,
    bids: Vec<i64>,
}

/// Registers the bots where needed and sets them to work until [`Web::stopping`].
pub async fn start(web: &Web, firm: FirmId, seed: u64) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut tasks = Vec::with_capacity(BOTS.len());
    for (seed, (name, strategy, symbol, program)) in (seed..).zip(BOTS) {
        let mut context = Context::of_platform(firm, web.clock.now(), &*web.rng);
        let email = format!("{}@bots.example", name.to_lowercase().replace(' ', "."));
        // Nobody signs in as a bot: its password is thrown away.
        let password = Password::new(crate::demo::password(&*web.rng));
        let registration = Registration { email, password, display_name: name.to_owned(), region: None };
        let person = web.identity.ensure_person(&context, registration, vec![Role::Trader]).await;
        let person = person.with_context(|| format!("registering {name}"))?;
        context.actor = Some(Actor { person: person.id, roles: person.roles });
        let bot = Bot {
            name,
            web: web.clone(),
            context,
            strategy,
            symbol,
            program,
            rng: SeededRng::new(seed),
            account: None,
            bids: Vec::new(),
        };
        tasks.push(tokio::spawn(bot.run()));
    }
    Ok(tasks)
}

impl Bot {
    async fn run(mut self) {
        let mut stop = self.web.stopping.clone();
        loop {
            // Bots do not look in step.
            let jitter = u64::try_from(self.rng.between(0, 1_000)).unwrap_or_default();
            tokio::select! {
                () = tokio::time::sleep(LOOK.saturating_add(Duration::from_millis(jitter))) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if let Err(error) = self.act().await {
                let error: &dyn std::error::Error = &*error;
                tracing::warn!(bot = self.name, error, "a bot could not act; it looks again later");
            }
        }
    }

    async fn act(&mut self) -> Result<(), app::BoxError> {
        let Some(view) = self.account().await? else { return Ok(()) };
        let hub = Arc::clone(&self.web.hub);
        let Some((id, quote)) =
            hub.quotes().into_iter().find(|(_, quote)| quote.symbol.as_str() == self.symbol)
        else {
            return Ok(());
        };
        if hub.is_stale(id, &quote, self.web.clock.now()) {
            return Ok(());
        }
        self.bids.push(quote.bid.0);
        if self.bids.len() > MEMORY {
            self.bids.remove(0);
        }
        let instrument = hub.instruments().get(id)?;
        match self.next_act(&view, id, instrument, &quote) {
            Some(act) => self.submit(view.account.id, act).await,
            None => Ok(()),
        }
    }

    /// The running account: the one it had, the newest it has, or that of a challenge it now buys.
    async fn account(&mut self) -> Result<Option<Arc<View>>, app::BoxError> {
        if let Some(id) = self.account {
            match self.web.desk.view(id).await? {
                Some(view) if view.account.status == Status::Active => return Ok(Some(view)),
                Some(_) | None => self.account = None,
            }
        }
        let person = self.context.actor()?.person;
        let challenges = store::read::challenges(&self.web.store, self.context.firm, person).await?;
        let accounts = challenges.iter().flat_map(|challenge| &challenge.accounts);
        self.account =
            accounts.filter(|account| account.status == Status::Active).map(|account| account.id).next_back();
        if self.account.is_none() && challenges.iter().all(|challenge| !challenge.accounts.is_empty()) {
            // A trader who has just lost an account thinks it over.
            if challenges.is_empty() || self.rng.between(1, 20) == 1 {
                self.buy().await?;
            }
        }
        Ok(None)
    }

    async fn buy(&mut self) -> Result<ChallengeId, app::BoxError> {
        let offer = self.web.catalogue.get(self.context.firm, self.program).await?;
        let key = self.key()?;
        let purchase =
            self.web.purchases.create(&self.context, &key, &offer.slug, offer.version.as_str()).await?;
        let paid = self.web.purchases.capture(&self.context, purchase.id).await?;
        self.web.purchase_paid.notify_one();
        paid.challenge.ok_or_else(|| "a captured purchase has no challenge".into())
    }

    fn key(&self) -> Result<Key, app::BoxError> {
        let id = RequestId::random(self.web.clock.now(), &*self.web.rng);
        Key::parse(&id.to_string()).ok_or_else(|| "an id is not a key".into())
    }

    async fn submit(&self, account: AccountId, act: Act) -> Result<(), app::BoxError> {
        let origin = Origin { person: Some(self.context.actor()?.person), request: None };
        let command = Command { account, key: self.key()?, act };
        let submitted = self.web.desk.submit(command, origin).await?;
        tracing::debug!(%account, outcome = ?submitted.outcome, "a bot acted");
        Ok(())
    }

    /// What to do now: leave a position that has run long enough, or enter one.
    fn next_act(
        &self,
        view: &View,
        id: InstrumentId,
        instrument: &Instrument,
        quote: &LoggedQuote,
    ) -> Option<Act> {
        let mine = view.account.positions.values().filter(|position| position.instrument == id);
        let spread = quote.ask.0.saturating_sub(quote.bid.0).max(1);
        if let Some(position) = mine.min_by_key(|position| position.opened_at) {
            let age = view.as_of.since(position.opened_at).map_or(0, kernel::Span::micros);
            let patience = match self.strategy {
                Strategy::Scalper => 8,
                Strategy::Momentum | Strategy::Breakout => 45,
                Strategy::Reversion => 30,
                Strategy::Gambler => 90,
            };
            let leave = age > i64::saturating_mul(patience, 1_000_000);
            return leave.then_some(Act::Close { position: position.ticket, quantity: None });
        }
        if view.account.orders.len() > 4 {
            let oldest = view.account.orders.keys().next()?;
            return Some(Act::Cancel { order: *oldest });
        }
        let (first, last) = (*self.bids.first()?, *self.bids.last()?);
        let moved = last.saturating_sub(first);
        let up = moved > 0;
        let strong = moved.abs() > spread;
        let (side, kind, hundredths, reach) = match self.strategy {
            Strategy::Momentum if strong => {
                (if up { Side::Buy } else { Side::Sell }, OrderKind::Market, 40, 12)
            }
            Strategy::Reversion if strong => {
                (if up { Side::Sell } else { Side::Buy }, OrderKind::Market, 30, 10)
            }
            Strategy::Scalper => (self.coin(), OrderKind::Market, 20, 4),
            Strategy::Gambler if self.rng.between(1, 4) == 1 => (self.coin(), OrderKind::Market, 300, 40),
            Strategy::Breakout => {
                let side = self.coin();
                let away = spread.saturating_mul(3);
                let at = match side {
                    Side::Buy => quote.ask.0.saturating_add(away),
                    Side::Sell => quote.bid.0.saturating_sub(away),
                };
                (side, OrderKind::Stop(Price(at)), 50, 15)
            }
            Strategy::Momentum | Strategy::Reversion | Strategy::Gambler => return None,
        };
        let reach = spread.saturating_mul(reach);
        let from =
            kind.price().map_or(if side == Side::Buy { quote.bid.0 } else { quote.ask.0 }, |price| price.0);
        let (below, above) = (Price(from.saturating_sub(reach)), Price(from.saturating_add(reach)));
        let (stop_loss, take_profit) = if side == Side::Buy { (below, above) } else { (above, below) };
        let gambles = self.strategy == Strategy::Gambler;
        Some(Act::Place(Place {
            symbol: instrument.symbol.clone(),
            side,
            kind,
            quantity: Quantity(hundredths),
            stop_loss: (!gambles).then_some(stop_loss),
            take_profit: Some(take_profit),
        }))
    }

    fn coin(&self) -> Side {
        let mut byte = [0_u8; 1];
        self.rng.fill(&mut byte);
        if byte.iter().all(|byte| byte % 2 == 0) { Side::Buy } else { Side::Sell }
    }
}
