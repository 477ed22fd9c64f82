-- migrate:up
alter table logbox.log_topics
    add column first_at timestamptz,
    add column last_at timestamptz,
    add column rate_hz double precision,
    add column fields jsonb,
    add column fields_id uuid;
comment on column logbox.log_topics.first_at is 'First time in UTC; null where nobody knows';
comment on column logbox.log_topics.last_at is 'Last time in UTC; null where nobody knows';
comment on column logbox.log_topics.rate_hz is 'Rows per second between the first and the last boot clock, or UTC where there is no boot clock; null below two times';
comment on column logbox.log_topics.fields is 'By column name (telemetry_columns.column_name), even where the rows are in the lake only: min, max and mean of finite numbers, nulls (rows without a value), not_finite (NaN and infinities, where there are any). What is no number has nulls alone';
comment on column logbox.log_topics.fields_id is 'uuid5 of the sorted names in fields: equal for equal sets of fields';

-- Errors are few and asked for most: a query for them must not read every event.
create index log_events_errors on logbox.log_events (log_id) where level <= 3;

create table logbox.vehicle_aliases (
    client text not null references logbox.clients,
    vehicle_uid text not null,
    vehicle text not null,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    primary key (client, vehicle_uid, vehicle)
);
create index on logbox.vehicle_aliases (client, vehicle);
comment on table logbox.vehicle_aliases is 'Which hardware id was seen under which vehicle name. One id under two names, or one name with two ids, is two rows here: see analytics.vehicle_conflicts. Made of logs alone, so rebuild needs nothing else.';
comment on column logbox.vehicle_aliases.client is 'Whose drone';
comment on column logbox.vehicle_aliases.vehicle_uid is 'The hardware id in its logs (logs.vehicle_uid)';
comment on column logbox.vehicle_aliases.vehicle is 'The folder its logs came in (logs.vehicle)';
comment on column logbox.vehicle_aliases.first_seen_at is 'received_at of the first log with both (UTC)';
comment on column logbox.vehicle_aliases.last_seen_at is 'received_at of the newest log with both (UTC)';

comment on column logbox.logs.format is 'Format, recognized by content; the first part of the names of its telemetry tables';

create schema analytics;
comment on schema analytics is 'Views for analysts: questions about the fleet, and every telemetry table with its client, vehicle and flight.';

-- migrate:down
drop schema analytics cascade;
comment on column logbox.logs.format is 'Recognized by content: ulog, jsonl';
drop table logbox.vehicle_aliases;
drop index logbox.log_events_errors;
alter table logbox.log_topics
    drop column fields_id,
    drop column fields,
    drop column rate_hz,
    drop column last_at,
    drop column first_at;
