//! Where a purchase may go from where it stands: one table, looked at for every event.
//!
//! Events come late, twice and in any order. What has happened already, and what no longer matters, is ignored; what may still
//! come to matter once something else is known is refused, and whoever brings it comes again. Money is never ignored.

/// Where a purchase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurchaseState {
    /// Priced and stored; nobody was asked for money yet.
    Created,
    /// A provider's page waits for the payment.
    AwaitingPayment,
    /// Paid; its challenge exists.
    Captured,
    /// The challenge has its account.
    Fulfilled,
    /// Taken back by the buyer before paying.
    Cancelled,
    /// Nobody paid in time.
    Expired,
    /// The payment failed.
    Failed,
    /// Everything was given back.
    Refunded,
    /// The buyer's bank asks for the money.
    Disputed,
    /// The buyer's bank has taken it back for good.
    ChargedBack,
}

impl PurchaseState {
    /// All.
    pub const ALL: [Self; 10] = [
        Self::Created,
        Self::AwaitingPayment,
        Self::Captured,
        Self::Fulfilled,
        Self::Cancelled,
        Self::Expired,
        Self::Failed,
        Self::Refunded,
        Self::Disputed,
        Self::ChargedBack,
    ];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::AwaitingPayment => "awaiting_payment",
            Self::Captured => "captured",
            Self::Fulfilled => "fulfilled",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Refunded => "refunded",
            Self::Disputed => "disputed",
            Self::ChargedBack => "charged_back",
        }
    }

    /// Whether it can still be paid as a matter of course.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Created | Self::AwaitingPayment)
    }

    /// Whether it ended without money.
    pub const fn is_dead(self) -> bool {
        matches!(self, Self::Cancelled | Self::Expired | Self::Failed)
    }
}

/// What may happen to a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A provider's page was opened for it.
    Begun,
    /// There is nothing to pay.
    NothingDue,
    /// It was paid.
    Captured,
    /// Money came that it has no use for.
    PaidAgain,
    /// Its account is open.
    Fulfilled,
    /// The buyer took it back.
    Cancelled,
    /// The time to pay is over.
    Expired,
    /// The payment failed.
    Failed,
    /// A part of what was paid was given back.
    RefundedInPart,
    /// With this, everything that was paid was given back.
    RefundedInWhole,
    /// Money that it had no use for was given back.
    OverpaymentRefunded,
    /// A refund did not arrive.
    RefundFailed,
    /// A dispute was opened.
    DisputeOpened,
    /// A dispute was won.
    DisputeWon,
    /// A dispute was lost.
    DisputeLost,
}

impl Happening {
    /// All.
    pub const ALL: [Self; 15] = [
        Self::Begun,
        Self::NothingDue,
        Self::Captured,
        Self::PaidAgain,
        Self::Fulfilled,
        Self::Cancelled,
        Self::Expired,
        Self::Failed,
        Self::RefundedInPart,
        Self::RefundedInWhole,
        Self::OverpaymentRefunded,
        Self::RefundFailed,
        Self::DisputeOpened,
        Self::DisputeWon,
        Self::DisputeLost,
    ];

    /// The word in rows and the audit log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::NothingDue => "nothing_due",
            Self::Captured => "captured",
            Self::PaidAgain => "paid_again",
            Self::Fulfilled => "fulfilled",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::RefundedInPart => "refunded_in_part",
            Self::RefundedInWhole => "refunded_in_whole",
            Self::OverpaymentRefunded => "overpayment_refunded",
            Self::RefundFailed => "refund_failed",
            Self::DisputeOpened => "dispute_opened",
            Self::DisputeWon => "dispute_won",
            Self::DisputeLost => "dispute_lost",
        }
    }
}

/// What follows from what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It goes there.
    To(PurchaseState),
    /// It stays where it is, and what happened is written down and posted.
    Stay,
    /// It goes back to where it would be without this: refunded, fulfilled or captured, as its history says.
    Back,
    /// Nothing is written: it has happened, or no longer matters.
    Ignore,
    /// It cannot happen there, or not yet.
    Refuse,
}

/// The table.
#[expect(
    clippy::match_same_arms,
    clippy::unnested_or_patterns,
    reason = "the arms follow the life of a purchase and not their results"
)]
pub const fn next(state: PurchaseState, happening: Happening) -> Next {
    use Happening as H;
    use Next::{Back, Ignore, Refuse, Stay, To};
    use PurchaseState as S;
    match (state, happening) {
        // Before the money.
        (S::Created, H::Begun) => To(S::AwaitingPayment),
        // Another page for the same purchase.
        (S::AwaitingPayment, H::Begun) => Stay,
        (S::Created, H::NothingDue) => To(S::Captured),
        // A payment may outrun what we know of its page.
        (S::Created | S::AwaitingPayment, H::Captured) => To(S::Captured),
        (S::Created | S::AwaitingPayment, H::Cancelled) => To(S::Cancelled),
        (S::Created | S::AwaitingPayment, H::Expired) => To(S::Expired),
        (S::Created | S::AwaitingPayment, H::Failed) => To(S::Failed),

        // Money that comes late is money.
        (S::Cancelled | S::Expired | S::Failed, H::Captured) => To(S::Captured),
        (S::Cancelled, H::Cancelled) => Ignore,
        (S::Cancelled | S::Expired | S::Failed, H::Expired | H::Failed) => Ignore,

        // After the money.
        (S::Captured, H::Fulfilled) => To(S::Fulfilled),
        (S::Fulfilled | S::ChargedBack, H::Fulfilled) => Ignore,
        // The history tells where a dispute or a failed refund leads back to.
        (S::Refunded | S::Disputed, H::Fulfilled) => Stay,
        (
            S::Captured | S::Fulfilled | S::Refunded | S::Disputed | S::ChargedBack,
            H::Begun | H::NothingDue | H::Captured | H::Expired | H::Failed,
        ) => Ignore,
        (S::Captured | S::Fulfilled | S::Disputed | S::ChargedBack, H::RefundedInPart)
        | (S::Disputed | S::ChargedBack, H::RefundedInWhole) => Stay,
        (S::Captured | S::Fulfilled, H::RefundedInWhole) => To(S::Refunded),
        (S::Refunded, H::RefundFailed) => Back,
        (S::Captured | S::Fulfilled | S::Disputed | S::ChargedBack, H::RefundFailed) => Stay,
        (S::Captured | S::Fulfilled | S::Refunded, H::DisputeOpened) => To(S::Disputed),
        // Several for one payment.
        (S::Disputed, H::DisputeOpened) => Stay,
        (S::ChargedBack, H::DisputeOpened | H::DisputeWon | H::DisputeLost) => Stay,
        (S::Disputed, H::DisputeWon) => Back,
        (S::Disputed, H::DisputeLost) => To(S::ChargedBack),

        // Money that it has no use for, in any state that has seen money or may have.
        (
            S::Captured
            | S::Fulfilled
            | S::Refunded
            | S::Disputed
            | S::ChargedBack
            | S::Cancelled
            | S::Expired
            | S::Failed,
            H::PaidAgain | H::OverpaymentRefunded,
        ) => Stay,
        // What came for a purchase that had ended goes back, or somebody wants it back; it stays ended.
        (
            S::Cancelled | S::Expired | S::Failed,
            H::RefundFailed | H::DisputeOpened | H::DisputeWon | H::DisputeLost,
        ) => Stay,

        (S::Created, H::PaidAgain | H::Fulfilled | H::OverpaymentRefunded)
        | (S::AwaitingPayment, H::NothingDue | H::PaidAgain | H::Fulfilled | H::OverpaymentRefunded)
        | (S::Cancelled | S::Expired | S::Failed, H::Begun | H::NothingDue | H::Fulfilled)
        | (S::Expired | S::Failed, H::Cancelled)
        | (
            S::Created | S::AwaitingPayment,
            H::RefundedInPart
            | H::RefundedInWhole
            | H::RefundFailed
            | H::DisputeOpened
            | H::DisputeWon
            | H::DisputeLost,
        )
        | (S::Cancelled | S::Expired | S::Failed, H::RefundedInPart | H::RefundedInWhole)
        | (S::Captured | S::Fulfilled | S::Refunded | S::Disputed | S::ChargedBack, H::Cancelled)
        | (S::Refunded, H::RefundedInPart | H::RefundedInWhole)
        | (S::Captured | S::Fulfilled | S::Refunded, H::DisputeWon | H::DisputeLost) => Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows are states, columns happenings in their order: a state's letter for where it goes, `=` stays, `<` goes back, `.` is
    /// ignored, `x` is refused.
    const TABLE: [(&str, char, &str); 10] = [
        // begun, nothing due, captured, paid again, fulfilled, cancelled, expired, failed,
        // part, whole, overpayment, refund failed, dispute opened, won, lost
        ("created", 'N', "APPxxCEFxxxxxxx"),
        ("awaiting_payment", 'A', "=xPxxCEFxxxxxxx"),
        ("captured", 'P', "...=Dx..=R==Bxx"),
        ("fulfilled", 'D', "...=.x..=R==Bxx"),
        ("cancelled", 'C', "xxP=x...xx====="),
        ("expired", 'E', "xxP=xx..xx====="),
        ("failed", 'F', "xxP=xx..xx====="),
        ("refunded", 'R', "...==x..xx=<Bxx"),
        ("disputed", 'B', "...==x..=====<K"),
        ("charged_back", 'K', "...=.x..======="),
    ];

    #[test]
    fn every_state_answers_every_event_as_the_table_says() {
        let mut cells = 0;
        for (state, (word, _, row)) in PurchaseState::ALL.into_iter().zip(TABLE) {
            assert_eq!(state.word(), word);
            assert_eq!(row.len(), Happening::ALL.len(), "{word}");
            for (happening, cell) in Happening::ALL.into_iter().zip(row.chars()) {
                let told = match next(state, happening) {
                    Next::To(to) => TABLE.iter().find(|(word, ..)| *word == to.word()).unwrap().1,
                    Next::Stay => '=',
                    Next::Back => '<',
                    Next::Ignore => '.',
                    Next::Refuse => 'x',
                };
                assert_eq!(told, cell, "{word} when {}", happening.word());
                cells += 1;
            }
        }
        assert_eq!(cells, 150);
    }

    #[test]
    fn money_is_never_ignored_and_no_state_is_left_towards_the_time_before_it() {
        for state in PurchaseState::ALL {
            let paid = !state.is_open() && !state.is_dead();
            let again = next(state, Happening::PaidAgain);
            assert!(again == Next::Stay || (state.is_open() && again == Next::Refuse));
            if !paid {
                assert_eq!(next(state, Happening::Captured), Next::To(PurchaseState::Captured));
            }
            for happening in Happening::ALL {
                if let Next::To(to) = next(state, happening) {
                    assert!(to != state, "{} when {}", state.word(), happening.word());
                    assert!(!paid || !(to.is_open() || to.is_dead()), "{}", happening.word());
                }
            }
        }
    }

    #[test]
    fn words_are_read_back_as_what_they_are() {
        for (place, state) in PurchaseState::ALL.iter().enumerate() {
            assert_eq!(PurchaseState::ALL.iter().position(|other| other.word() == state.word()), Some(place));
        }
        for (place, happening) in Happening::ALL.iter().enumerate() {
            assert_eq!(Happening::ALL.iter().position(|it| it.word() == happening.word()), Some(place));
        }
    }
}
