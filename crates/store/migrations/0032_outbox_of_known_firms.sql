-- A message is written in the transaction of its cause, which belongs to a firm already: looking the firm up again for each was more than
-- half of what a message cost (docs/adr/0022). Firms are never deleted.
alter table outbox drop constraint outbox_firm;
