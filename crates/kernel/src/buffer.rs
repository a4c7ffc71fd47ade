//! The text of a number or an instant without the heap, written from its end: every amount and time of every answer, journal
//! row and receipt passes here.

/// Bytes enough for every text that is written here.
const ROOM: usize = 40;

pub(crate) struct Buffer {
    bytes: [u8; ROOM],
    start: usize,
}

impl Buffer {
    pub fn new() -> Self {
        Self { bytes: [0; ROOM], start: ROOM }
    }

    /// Puts an ASCII character in front of what is there. Where there is no room it is lost, which tests would show.
    pub fn push(&mut self, character: u8) {
        self.start = self.start.saturating_sub(1);
        if let Some(place) = self.bytes.get_mut(self.start) {
            *place = character;
        }
    }

    /// Puts the last digit of a number in front and gives the number without it.
    pub fn push_digit(&mut self, number: u64) -> u64 {
        let digit = u8::try_from(number % 10).unwrap_or_default();
        self.push(b'0'.wrapping_add(digit));
        number / 10
    }

    /// Puts exactly so many digits of a number in front.
    pub fn push_digits(&mut self, number: u64, count: u8) {
        let mut rest = number;
        for _ in 0..count {
            rest = self.push_digit(rest);
        }
    }

    pub fn as_str(&self) -> &str {
        self.bytes.get(self.start..).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}
