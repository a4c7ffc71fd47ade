use kernel::{Amount, ResetClock, TimeError, Timestamp, TradingDay};
use serde::{Deserialize, Serialize};

/// What the rules remember of an account: the marks they measure from. The engine moves it, the rules read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// Balance at opening.
    pub initial: Amount,
    /// When the account opened.
    pub opened_at: Timestamp,
    /// The running trading day.
    pub day: TradingDay,
    /// When it began: the last reset, or the opening on the first day.
    pub day_started_at: Timestamp,
    /// Balance when it began.
    pub day_start_balance: Amount,
    /// Equity when it began, open positions valued at the quotes standing then.
    pub day_start_equity: Amount,
    /// When it ends.
    pub next_reset: Timestamp,
    /// The highest equity at any quote since opening, never below the initial balance; kept where a rule asks.
    pub peak_equity: Amount,
    /// The highest balance at any reset; never below the initial balance.
    pub peak_day_end_balance: Amount,
    /// The last opening of a position, or the opening of the account.
    pub last_activity: Timestamp,
    /// Days on which a position was opened, the running day included.
    pub trading_days: u32,
    /// Whether the running day already counts.
    pub traded_today: bool,
}

impl Track {
    /// The track of an account that opens now, flat.
    pub fn open(initial: Amount, at: Timestamp, clock: &ResetClock) -> Result<Self, TimeError> {
        Ok(Self {
            initial,
            opened_at: at,
            day: clock.day_of(at)?,
            day_started_at: at,
            day_start_balance: initial,
            day_start_equity: initial,
            next_reset: clock.next_after(at)?,
            peak_equity: initial,
            peak_day_end_balance: initial,
            last_activity: at,
            trading_days: 0,
            traded_today: false,
        })
    }

    /// Takes notice of an equity; true if it is a new peak.
    pub fn observe(&mut self, equity: Amount) -> bool {
        let higher = equity > self.peak_equity;
        if higher {
            self.peak_equity = equity;
        }
        higher
    }

    /// Takes notice of a position's opening.
    pub fn position_opened(&mut self, at: Timestamp) {
        self.last_activity = at;
        if !self.traded_today {
            self.traded_today = true;
            self.trading_days = self.trading_days.saturating_add(1);
        }
    }

    /// Ends the trading day at its reset: the next day is measured from what stood at that instant, whether or
    /// not anybody trades in it.
    pub fn reset(&mut self, clock: &ResetClock, balance: Amount, equity: Amount) -> Result<(), TimeError> {
        let at = self.next_reset;
        self.day = clock.day_of(at)?;
        self.day_started_at = at;
        self.next_reset = clock.next_after(at)?;
        self.day_start_balance = balance;
        self.day_start_equity = equity;
        self.peak_day_end_balance = self.peak_day_end_balance.max(balance);
        self.traded_today = false;
        Ok(())
    }
}
