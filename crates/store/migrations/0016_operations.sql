-- What a firm's operators see of its messages, and that they send dead ones again.
grant select on outbox to tradesense_app;
grant update (attempts, next_at, dead_at, sent_again_at) on failed_messages to tradesense_app;

-- Pages of a firm's, the newest first.
create index failed_messages_of_firm on failed_messages (firm_id, message_id desc, group_name);
-- Whoever looks for those to be tried again.
create index failed_messages_due on failed_messages (next_at) where dead_at is null;
