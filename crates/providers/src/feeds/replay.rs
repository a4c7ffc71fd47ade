//! Plays recorded ticks as if they happened now.

use std::num::NonZeroU32;
use std::sync::Arc;

use kernel::{Price, Span, Symbol, Timestamp};

use super::ticks::TickError;
use super::{Feed, FeedQuote, MOST_AT_ONCE};

/// Ticks in memory (about 32 bytes each), checked: playing them cannot fail halfway.
#[derive(Debug, Clone)]
pub struct Recording {
    streams: Vec<(Arc<str>, Symbol)>,
    /// Never empty.
    ticks: Vec<Recorded>,
    first: Timestamp,
    length: Span,
}

#[derive(Debug, Clone, Copy)]
struct Recorded {
    stream: usize,
    source_time: Timestamp,
    bid: Price,
    ask: Price,
}

impl Recording {
    /// Keeps the quotes in the order given, for instance those of [`super::ticks::merge`]. Stops at the first
    /// error; no quote at all is [`TickError::NoTicks`].
    pub fn read(quotes: impl IntoIterator<Item = Result<FeedQuote, TickError>>) -> Result<Self, TickError> {
        let mut streams: Vec<(Arc<str>, Symbol)> = Vec::new();
        let mut ticks = Vec::new();
        let mut range: Option<(Timestamp, Timestamp)> = None;
        for quote in quotes {
            let FeedQuote { source, symbol, bid, ask, source_time } = quote?;
            let known = streams.iter().position(|(name, of)| *name == source && *of == symbol);
            let stream = known.unwrap_or(streams.len());
            if known.is_none() {
                streams.push((source, symbol));
            }
            ticks.push(Recorded { stream, source_time, bid, ask });
            let (first, last) = range.unwrap_or((source_time, source_time));
            range = Some((first.min(source_time), last.max(source_time)));
        }
        let Some((first, last)) = range else {
            return Err(TickError::NoTicks { place: "the recording".to_owned() });
        };
        let seconds = micros_between(first, last) / MICROS_PER_SECOND;
        let length = Span::from_micros(seconds.saturating_add(1).saturating_mul(MICROS_PER_SECOND));
        Ok(Self { streams, ticks, first, length })
    }

    /// The earliest source time.
    pub const fn first(&self) -> Timestamp {
        self.first
    }

    /// From the earliest tick to the latest, made up to the next whole second: the period of a loop. Always longer
    /// than the distance, so that the first tick of a loop comes after the last of the one before.
    pub const fn length(&self) -> Span {
        self.length
    }

    /// How many ticks, never 0.
    pub const fn count(&self) -> usize {
        self.ticks.len()
    }
}

/// How fast source time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// This many seconds of the recording in one of the platform.
    Factor(NonZeroU32),
    /// Every tick is due at once.
    AsFastAsPossible,
}

impl Pace {
    /// A second is a second.
    pub const REAL_TIME: Self = Self::Factor(NonZeroU32::MIN);
}

/// Which time the quotes carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Their own.
    Original,
    /// Moved so that the first tick is at the start instant; at real time every quote carries the instant at which
    /// it is due.
    Shifted,
}

/// How to play a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaySettings {
    /// The speed.
    pub pace: Pace,
    /// The times on the quotes.
    pub times: Times,
    /// Begin again after the last tick. Each loop moves the times by one more [`Recording::length`], so they run
    /// on and never back.
    pub looping: bool,
}

/// A recording being played. Quotes carry times that never run backwards, unless the recording's own do.
#[derive(Debug)]
pub struct ReplayFeed {
    recording: Recording,
    settings: ReplaySettings,
    /// The next tick; the number of ticks once the feed has ended.
    position: usize,
    /// Microseconds added to the recording's times.
    shift: i64,
    /// At the platform's instant `anchor` the played time is `played_at_anchor`; the pace leads on from there.
    anchor: Timestamp,
    played_at_anchor: Timestamp,
    last_played: Option<Timestamp>,
    paused_at: Option<Timestamp>,
}

const MICROS_PER_SECOND: i64 = 1_000_000;

impl ReplayFeed {
    /// Plays from the first tick, which is due at `start`.
    pub fn new(recording: Recording, settings: ReplaySettings, start: Timestamp) -> Self {
        let shift = match settings.times {
            Times::Original => 0,
            Times::Shifted => micros_between(recording.first, start),
        };
        let played_at_anchor = moved(recording.first, shift);
        Self {
            recording,
            settings,
            position: 0,
            shift,
            anchor: start,
            played_at_anchor,
            last_played: None,
            paused_at: None,
        }
    }

    /// Stops playing at `now`; what was due before and has not been taken waits too. A second pause changes nothing.
    pub fn pause(&mut self, now: Timestamp) {
        self.paused_at.get_or_insert(now);
    }

    /// Goes on where [`ReplayFeed::pause`] stopped. Shifted times then skip the pause, so that they still agree with
    /// the platform's clock; original ones do not.
    pub fn resume(&mut self, now: Timestamp) {
        let Some(paused_at) = self.paused_at.take() else { return };
        let pause = micros_between(paused_at, now).max(0);
        self.anchor = moved(self.anchor, pause);
        if self.settings.times == Times::Shifted && self.settings.pace != Pace::AsFastAsPossible {
            self.played_at_anchor = moved(self.played_at_anchor, pause);
            self.shift = self.shift.saturating_add(pause);
        }
    }

    /// Goes to the first tick at or after `source_time` (a time of the recording, not a shifted one), which becomes
    /// due at `now`. Nothing between is played. Behind the last tick a looping feed begins again and another ends.
    /// A jump back counts as a new loop for the times of the quotes.
    pub fn skip_to(&mut self, source_time: Timestamp, now: Timestamp) {
        let now = self.paused_at.unwrap_or(now);
        let played = self.played_at(now).max(self.last_played.unwrap_or(self.played_at_anchor));
        let ticks = &self.recording.ticks;
        let found = ticks.iter().position(|tick| tick.source_time >= source_time);
        self.position = match found {
            Some(position) => position,
            None if self.settings.looping => 0,
            None => ticks.len(),
        };
        let Some(tick) = ticks.get(self.position) else { return };
        match self.settings.times {
            Times::Shifted => self.shift = micros_between(tick.source_time, played),
            Times::Original => {
                if self.last_played.is_some_and(|last| moved(tick.source_time, self.shift) < last) {
                    self.shift = self.shift.saturating_add(self.recording.length.micros());
                }
            }
        }
        self.anchor = now;
        self.played_at_anchor = moved(tick.source_time, self.shift);
    }

    /// How far the played time has come at a platform's instant.
    fn played_at(&self, now: Timestamp) -> Timestamp {
        match self.settings.pace {
            Pace::AsFastAsPossible => self.played_at_anchor,
            Pace::Factor(factor) => {
                let passed = micros_between(self.anchor, now).max(0).saturating_mul(i64::from(factor.get()));
                moved(self.played_at_anchor, passed)
            }
        }
    }

    fn due(&self, tick: &Recorded) -> Timestamp {
        match self.settings.pace {
            Pace::AsFastAsPossible => self.anchor,
            Pace::Factor(factor) => {
                let ahead = micros_between(self.played_at_anchor, moved(tick.source_time, self.shift));
                let wait = ahead.checked_div_euclid(i64::from(factor.get())).unwrap_or(ahead);
                moved(self.anchor, wait)
            }
        }
    }
}

impl Feed for ReplayFeed {
    fn next_due(&self) -> Option<Timestamp> {
        if self.paused_at.is_some() {
            return None;
        }
        self.recording.ticks.get(self.position).map(|tick| self.due(tick))
    }

    fn take_until(&mut self, now: Timestamp, out: &mut Vec<FeedQuote>) {
        if self.paused_at.is_some() {
            return;
        }
        for _ in 0..MOST_AT_ONCE {
            let Some(tick) = self.recording.ticks.get(self.position) else { return };
            if self.due(tick) > now {
                return;
            }
            let Some((source, symbol)) = self.recording.streams.get(tick.stream) else { return };
            let source_time = moved(tick.source_time, self.shift);
            out.push(FeedQuote {
                source: Arc::clone(source),
                symbol: symbol.clone(),
                bid: tick.bid,
                ask: tick.ask,
                source_time,
            });
            self.last_played = Some(source_time);
            self.position = self.position.saturating_add(1);
            if self.settings.looping && self.position == self.recording.ticks.len() {
                self.position = 0;
                self.shift = self.shift.saturating_add(self.recording.length.micros());
            }
        }
    }
}

// The range of Timestamp is ±292,000 years: saturating there is a feed that stands still, not a wrong time.
fn moved(at: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_add(micros))
}

fn micros_between(earlier: Timestamp, later: Timestamp) -> i64 {
    later.micros().saturating_sub(earlier.micros())
}
