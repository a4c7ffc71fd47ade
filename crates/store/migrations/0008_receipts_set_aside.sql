-- A receipt that cannot be made is set aside with the reason, so that the others do not wait for it.

alter table receipts_due
    add column failed_at timestamptz,
    add column fault text,
    add constraint receipts_due_fault_with_time check ((failed_at is null) = (fault is null));

grant update (failed_at, fault) on receipts_due to tradesense_engine;
