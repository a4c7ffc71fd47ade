//! What the books and the purchases of a firm must never show. Each is written with the other in one transaction, so that they
//! agree; here it is looked for in all rows at once, after tests, after a restore and on a schedule.
//!
//! To add a fault: a part of the statement that selects the rows in question.

use app::AppError;
use kernel::FirmId;

use crate::error::Doing;
use crate::{Fault, Store};

impl Store {
    /// Everything that contradicts itself in a firm's books, purchases and coupons, read in one snapshot.
    pub async fn money_faults(&self, firm: FirmId) -> Result<Vec<Fault>, AppError> {
        let mut tx = self.begin(firm).await?;
        let faults = sqlx::query_as!(
            Fault,
            r#"with side as (
                 select account, currency, sum(debits) as debits, sum(credits) as credits
                 from (select debit as account, currency, amount_minor as debits, 0 as credits from ledger_transfers
                       where firm_id = $1
                       union all
                       select credit, currency, 0, amount_minor from ledger_transfers where firm_id = $1) both_sides
                 group by account, currency
               ), held as (
                 select split_part(account, '_', 1) || '_held:' || split_part(account, ':', 2) as account, currency,
                        sum(amount_minor) as amount
                 from ledger_holds hold
                 where firm_id = $1
                   and not exists (select from ledger_hold_ends done
                                   where done.firm_id = hold.firm_id and done.hold_id = hold.id)
                 group by 1, 2
               ), fault (say, example) as (
                 select 'debits that are not credits', currency from side
                 group by currency having sum(debits) <> sum(credits)
                 union all
                 select 'an account of a person below zero', account || ' ' || currency from side
                 where account ~ '^(trader|affiliate)_(payable|held):' and debits > credits
                 union all
                 select 'held money that is not that of the pending holds',
                        coalesce(side.account, held.account) || ' ' || coalesce(side.currency, held.currency)
                 from (select * from side where account ~ '^(trader|affiliate)_held:') side
                 full join held on held.account = side.account and held.currency = side.currency
                 where coalesce(side.credits - side.debits, 0) <> coalesce(held.amount, 0)
                 union all
                 select 'an entry that has not the lines that it says', entry.id::text
                 from ledger_entries entry
                 where entry.firm_id = $1
                   and entry.lines <> (select count(*) from ledger_transfers moved
                                       where moved.firm_id = entry.firm_id and moved.entry_id = entry.id)
                 union all
                 select 'a reversal that does not take back what it reverses', back.id::text
                 from ledger_entries back
                 where back.firm_id = $1 and back.reverses_id is not null
                   and exists (select line, currency, amount_minor, debit, credit from ledger_transfers
                               where firm_id = $1 and entry_id = back.reverses_id
                               except
                               select line, currency, amount_minor, credit, debit from ledger_transfers
                               where firm_id = $1 and entry_id = back.id)
                 union all
                 select 'money of a purchase that is not in the books', happened.purchase_id || ' ' || happened.what
                 from purchase_events happened
                 where happened.firm_id = $1
                   and happened.what in ('captured', 'paid_again', 'refunded_in_part', 'refunded_in_whole',
                                         'overpayment_refunded', 'dispute_opened', 'dispute_won', 'dispute_lost')
                   and not exists (select from ledger_entries entry
                                   where entry.firm_id = happened.firm_id and entry.id = happened.id)
                 union all
                 select 'a failed refund that is not taken back', happened.purchase_id || ' ' || happened.reference
                 from purchase_events happened
                 join purchase_events refund on refund.firm_id = happened.firm_id and refund.purchase_id = happened.purchase_id
                                            and refund.provider = happened.provider and refund.reference = happened.reference
                                            and refund.what in ('refunded_in_part', 'refunded_in_whole', 'overpayment_refunded')
                 where happened.firm_id = $1 and happened.what = 'refund_failed'
                   and not exists (select from ledger_entries back
                                   where back.firm_id = refund.firm_id and back.reverses_id = refund.id)
                 union all
                 select 'an entry of a purchase to which nothing has happened', entry.cause || ' ' || entry.kind
                 from ledger_entries entry
                 where entry.firm_id = $1 and entry.cause like 'purchase:%'
                   and entry.kind in ('capture', 'overpayment', 'refund', 'dispute_opened', 'dispute_won', 'dispute_lost')
                   and not exists (select from purchase_events happened
                                   where happened.firm_id = entry.firm_id and happened.id = entry.id)
                 union all
                 select 'money of a purchase that is another amount in the books', happened.purchase_id || ' ' || happened.what
                 from purchase_events happened
                 join ledger_transfers moved on moved.firm_id = happened.firm_id and moved.entry_id = happened.id
                 where happened.firm_id = $1
                   and happened.what in ('captured', 'paid_again', 'refunded_in_part', 'refunded_in_whole', 'overpayment_refunded')
                 group by happened.purchase_id, happened.what, happened.id, happened.amount_minor
                 having sum(moved.amount_minor) filter (
                            where 'provider_clearing:' || happened.provider in (moved.debit, moved.credit)
                        ) is distinct from happened.amount_minor
                 union all
                 select 'a purchase that is not where its last event led', bought.id::text
                 from purchases bought
                 join lateral (select to_state from purchase_events happened
                               where happened.firm_id = bought.firm_id and happened.purchase_id = bought.id
                               order by number desc limit 1) last on true
                 where bought.firm_id = $1 and last.to_state <> bought.state
                 union all
                 select 'a paid purchase without a challenge, or a challenge that nobody paid', bought.id::text
                 from purchases bought
                 where bought.firm_id = $1
                   and (bought.state in ('captured', 'fulfilled', 'refunded', 'disputed', 'charged_back'))
                       <> exists (select from challenges challenge
                                  where challenge.firm_id = bought.firm_id and challenge.purchase_id = bought.id)
                 union all
                 select 'a coupon that was used otherwise than it was claimed', coupons.code
                 from coupons
                 where coupons.firm_id = $1
                   and coupons.used <> (select count(*) from coupon_claims claim
                                        where claim.firm_id = coupons.firm_id and claim.code = coupons.code
                                          and claim.freed_at is null)
               )
               select say as "say!", count(*) as "rows!", min(example) as "example!" from fault group by say order by say"#,
            firm.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking for what contradicts itself in the books")?;
        Ok(faults)
    }
}
