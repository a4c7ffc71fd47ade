-- Which schema this is, for programs that start on it: the last migration, and the last migration of the oldest program that
-- still works with it. One row, written after the migrations.
create table schema_version (
    one boolean not null default true,
    version bigint not null,
    oldest bigint not null,
    constraint schema_version_key primary key (one),
    constraint schema_version_once check (one),
    constraint schema_version_ordered check (oldest <= version)
);
grant select on schema_version to tradesense_app, tradesense_engine, tradesense_worker;
