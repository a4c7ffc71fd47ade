//! Where a payout may go from where it stands: one table, looked at for every event.
//!
//! Nothing is ever left towards a time before the money left the trading account, and what ends without money ends before it.

/// Where a payout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayoutState {
    /// Asked for.
    Requested,
    /// We do not know yet who asks.
    AwaitingIdentity,
    /// The firm's people look at it.
    InReview,
    /// They let it go; the engine is asked next.
    Approved,
    /// The money has left the trading account.
    Taken,
    /// The trader's share is owed and kept back for this payout.
    Reserved,
    /// A provider is asked; whether it was heard may be unknown.
    Sending,
    /// On its way.
    Sent,
    /// The trader has it.
    Settled,
    /// It never left; the share is owed.
    Failed,
    /// It came back; the share is owed.
    Returned,
    /// It is to go to somebody else than before, and the firm's people look at that; the share is owed.
    PayeeInReview,
    /// A condition of the program did not hold when the engine was asked.
    Refused,
    /// The firm's people did not let it go.
    Rejected,
    /// The trader took it back.
    Withdrawn,
}

impl PayoutState {
    /// All.
    pub const ALL: [Self; 15] = [
        Self::Requested,
        Self::AwaitingIdentity,
        Self::InReview,
        Self::Approved,
        Self::Taken,
        Self::Reserved,
        Self::Sending,
        Self::Sent,
        Self::Settled,
        Self::Failed,
        Self::Returned,
        Self::PayeeInReview,
        Self::Refused,
        Self::Rejected,
        Self::Withdrawn,
    ];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::AwaitingIdentity => "awaiting_identity",
            Self::InReview => "in_review",
            Self::Approved => "approved",
            Self::Taken => "taken",
            Self::Reserved => "reserved",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Settled => "settled",
            Self::Failed => "failed",
            Self::Returned => "returned",
            Self::PayeeInReview => "payee_in_review",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Whether nothing follows as a matter of course; another payout of the account may be asked for.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Settled | Self::Refused | Self::Rejected | Self::Withdrawn)
    }

    /// Whether the money has left the trading account.
    pub const fn has_left(self) -> bool {
        matches!(
            self,
            Self::Taken
                | Self::Reserved
                | Self::Sending
                | Self::Sent
                | Self::Settled
                | Self::Failed
                | Self::Returned
                | Self::PayeeInReview
        )
    }
}

/// What may happen to a payout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The trader asked for it.
    Requested,
    /// Nobody knows who asks.
    IdentityNeeded,
    /// Who asks is known, or need not be.
    IdentityKnown,
    /// One of the firm's people agrees, and another one has to.
    Reviewed,
    /// The last one agrees.
    Approved,
    /// One of them does not.
    Rejected,
    /// The trader takes it back.
    Withdrawn,
    /// From here on the engine may have been asked.
    TakeBegun,
    /// The engine said "not now", for good under that key.
    Later,
    /// The engine took the money.
    Taken,
    /// It did, and the trader's share of it is nothing.
    NothingOwed,
    /// The engine refused.
    Refused,
    /// The share is owed and kept back.
    Reserved,
    /// A provider is asked.
    Begun,
    /// It is on its way.
    Sent,
    /// It has arrived.
    Settled,
    /// The provider says what it cost.
    FeeKnown,
    /// It never left.
    Failed,
    /// It came back.
    Returned,
    /// It is sent once more.
    SentAgain,
    /// It is to go to somebody else.
    PayeeChanged,
    /// The last one who has to agree to that does.
    PayeeApproved,
    /// One of them does not.
    PayeeRejected,
}

impl Happening {
    /// All.
    pub const ALL: [Self; 23] = [
        Self::Requested,
        Self::IdentityNeeded,
        Self::IdentityKnown,
        Self::Reviewed,
        Self::Approved,
        Self::Rejected,
        Self::Withdrawn,
        Self::TakeBegun,
        Self::Later,
        Self::Taken,
        Self::NothingOwed,
        Self::Refused,
        Self::Reserved,
        Self::Begun,
        Self::Sent,
        Self::Settled,
        Self::FeeKnown,
        Self::Failed,
        Self::Returned,
        Self::SentAgain,
        Self::PayeeChanged,
        Self::PayeeApproved,
        Self::PayeeRejected,
    ];

    /// The word in rows and in the audit log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::IdentityNeeded => "identity_needed",
            Self::IdentityKnown => "identity_known",
            Self::Reviewed => "reviewed",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::TakeBegun => "take_begun",
            Self::Later => "later",
            Self::Taken => "taken",
            Self::NothingOwed => "nothing_owed",
            Self::Refused => "refused",
            Self::Reserved => "reserved",
            Self::Begun => "begun",
            Self::Sent => "sent",
            Self::Settled => "settled",
            Self::FeeKnown => "fee_known",
            Self::Failed => "failed",
            Self::Returned => "returned",
            Self::SentAgain => "sent_again",
            Self::PayeeChanged => "payee_changed",
            Self::PayeeApproved => "payee_approved",
            Self::PayeeRejected => "payee_rejected",
        }
    }
}

/// What follows from what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It goes there.
    To(PayoutState),
    /// It stays where it is, and what happened is written down.
    Stay,
    /// Nothing is written: it has happened, or no longer matters.
    Ignore,
    /// It cannot happen there, or not yet.
    Refuse,
}

/// The table. Whether the engine may have been asked is said beside the state: until then an approved payout may still be
/// given up.
#[expect(clippy::match_same_arms, reason = "the arms follow the life of a payout and not their results")]
pub const fn next(state: PayoutState, take_begun: bool, happening: Happening) -> Next {
    use Happening as H;
    use Next::{Ignore, Refuse, Stay, To};
    use PayoutState as S;
    match (state, happening) {
        // Before it is let go.
        (S::Requested | S::InReview, H::IdentityNeeded) => To(S::AwaitingIdentity),
        (S::Requested | S::AwaitingIdentity, H::IdentityKnown) => To(S::InReview),
        (S::AwaitingIdentity, H::IdentityNeeded) | (S::InReview, H::IdentityKnown) => Ignore,
        (S::InReview, H::Reviewed) => Stay,
        (S::InReview, H::Approved) => To(S::Approved),
        (S::Requested | S::AwaitingIdentity | S::InReview, H::Rejected) => To(S::Rejected),
        (S::Requested | S::AwaitingIdentity | S::InReview, H::Withdrawn) => To(S::Withdrawn),
        (S::Rejected, H::Rejected) | (S::Withdrawn, H::Withdrawn) => Ignore,

        // The engine decides.
        (S::Approved, H::Rejected) if !take_begun => To(S::Rejected),
        (S::Approved, H::Withdrawn) if !take_begun => To(S::Withdrawn),
        (S::Approved, H::TakeBegun) if !take_begun => Stay,
        (S::Approved, H::TakeBegun) => Ignore,
        (S::Approved, H::Later) if take_begun => Stay,
        (S::Approved, H::Taken) if take_begun => To(S::Taken),
        (S::Approved, H::NothingOwed) if take_begun => To(S::Settled),
        (S::Approved, H::Refused) if take_begun => To(S::Refused),
        // Somebody else was told the same answer.
        (
            S::Taken
            | S::Reserved
            | S::Sending
            | S::Sent
            | S::Settled
            | S::Failed
            | S::Returned
            | S::PayeeInReview
            | S::Refused,
            H::TakeBegun | H::Later | H::Taken | H::NothingOwed | H::Refused,
        ) => Ignore,
        (S::Taken, H::Reserved) => To(S::Reserved),
        (
            S::Reserved | S::Sending | S::Sent | S::Settled | S::Failed | S::Returned | S::PayeeInReview,
            H::Reserved,
        ) => Ignore,

        // The money goes.
        (S::Reserved, H::Begun) => To(S::Sending),
        // Asked again, under the same name.
        (S::Sending, H::Begun) => Stay,
        (S::Sent | S::Settled | S::Failed | S::Returned | S::PayeeInReview, H::Begun) => Ignore,
        // What is paid in a file or by hand asks no provider first.
        (S::Reserved | S::Sending, H::Sent) => To(S::Sent),
        (S::Sent | S::Settled | S::Failed | S::Returned, H::Sent) => Ignore,
        (S::Reserved | S::Sending | S::Sent, H::Settled) => To(S::Settled),
        (S::Settled | S::Returned | S::Failed, H::Settled) => Ignore,
        (S::Settled, H::FeeKnown) => Stay,
        (S::Sending | S::Sent, H::Failed) => To(S::Failed),
        (S::Sending | S::Sent | S::Settled, H::Returned) => To(S::Returned),
        (S::Settled, H::Failed) => To(S::Returned),
        (S::Failed | S::Returned, H::Failed | H::Returned) => Ignore,
        (S::Failed | S::Returned, H::SentAgain) => To(S::Reserved),
        // Nobody sends money alone to where nobody else has looked.
        (S::Failed | S::Returned, H::PayeeChanged) => To(S::PayeeInReview),
        (S::PayeeInReview, H::Reviewed) => Stay,
        (S::PayeeInReview, H::PayeeApproved) => To(S::Reserved),
        (S::PayeeInReview, H::PayeeRejected) => To(S::Returned),
        _ => Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows are states before and after the engine may have been asked, columns happenings in their order: a state's letter for
    /// where it goes, `=` stays, `.` is ignored, `x` is refused.
    const LETTERS: [(PayoutState, char); 15] = [
        (PayoutState::Requested, 'q'),
        (PayoutState::AwaitingIdentity, 'w'),
        (PayoutState::InReview, 'v'),
        (PayoutState::Approved, 'A'),
        (PayoutState::Taken, 'T'),
        (PayoutState::Reserved, 'H'),
        (PayoutState::Sending, 'g'),
        (PayoutState::Sent, 'S'),
        (PayoutState::Settled, 'D'),
        (PayoutState::Failed, 'F'),
        (PayoutState::Returned, 'R'),
        (PayoutState::PayeeInReview, 'p'),
        (PayoutState::Refused, 'N'),
        (PayoutState::Rejected, 'J'),
        (PayoutState::Withdrawn, 'W'),
    ];
    // requested, identity needed, known, reviewed, approved, rejected, withdrawn | take begun, later, taken, nothing owed, refused,
    // reserved | begun, sent, settled, fee known, failed, returned, sent again | payee changed, approved, rejected
    const TABLE: [(bool, &str); 16] = [
        (false, "xwvxxJWxxxxxxxxxxxxxxxx"),
        (false, "x.vxxJWxxxxxxxxxxxxxxxx"),
        (false, "xw.=AJWxxxxxxxxxxxxxxxx"),
        (false, "xxxxxJW=xxxxxxxxxxxxxxx"),
        (true, "xxxxxxx.=TDNxxxxxxxxxxx"),
        (true, "xxxxxxx.....Hxxxxxxxxxx"),
        (true, "xxxxxxx......gSDxxxxxxx"),
        (true, "xxxxxxx......=SDxFRxxxx"),
        (true, "xxxxxxx........DxFRxxxx"),
        (true, "xxxxxxx.........=RRxxxx"),
        (true, "xxxxxxx.........x..Hpxx"),
        (true, "xxxxxxx.........x..Hpxx"),
        (true, "xxx=xxx.......xxxxxxxHR"),
        (true, "xxxxxxx.....xxxxxxxxxxx"),
        (false, "xxxxx.xxxxxxxxxxxxxxxxx"),
        (false, "xxxxxx.xxxxxxxxxxxxxxxx"),
    ];

    #[test]
    fn every_state_answers_every_event_as_the_table_says() {
        let mut rows = TABLE.iter();
        for (state, _) in LETTERS {
            let times: &[bool] =
                if state == PayoutState::Approved { &[false, true] } else { &[state.has_left()] };
            for _ in times {
                let (begun, row) = rows.next().unwrap();
                assert_eq!(row.len(), Happening::ALL.len(), "{}", state.word());
                for (happening, cell) in Happening::ALL.into_iter().zip(row.chars()) {
                    let told = match next(state, *begun, happening) {
                        Next::To(to) => LETTERS.iter().find(|(known, _)| *known == to).unwrap().1,
                        Next::Stay => '=',
                        Next::Ignore => '.',
                        Next::Refuse => 'x',
                    };
                    assert_eq!(told, cell, "{} when {}", state.word(), happening.word());
                }
            }
        }
        assert!(rows.next().is_none());
    }

    #[test]
    fn what_has_left_the_account_is_never_given_up_and_what_is_given_up_never_left() {
        for state in PayoutState::ALL {
            for begun in [false, true] {
                for happening in Happening::ALL {
                    let Next::To(to) = next(state, begun, happening) else { continue };
                    assert_ne!(to, state);
                    assert!(!state.has_left() || to.has_left(), "{} {}", state.word(), happening.word());
                    if matches!(to, PayoutState::Rejected | PayoutState::Withdrawn) {
                        assert!(state != PayoutState::Approved || !begun);
                    }
                }
            }
        }
    }
}
