-- Accounts that the engine holds while a payment for their challenge is disputed. docs/adr/0043.
alter table accounts add column held boolean not null default false;
-- Few are, and whoever lets them go looks for them every few seconds.
create index accounts_held on accounts (firm_id) where held;
