-- migrate:up
create table logbox.access_log_sources (
    source_id integer primary key generated always as identity,
    store text not null check (store in ('embedded', 'replica', 'aws')),
    identity text not null unique,
    name text not null,
    modified_at timestamptz not null,
    position bigint not null default 0 check (position >= 0),
    lines bigint not null default 0 check (lines >= 0),
    unread_lines bigint not null default 0 check (unread_lines >= 0),
    last_unread text,
    last_unread_at timestamptz,
    loaded_at timestamptz not null
);
create index on logbox.access_log_sources (store, modified_at);
create index on logbox.access_log_sources (last_unread_at) where last_unread_at is not null;
comment on table logbox.access_log_sources is 'Each file of a store''s access log, and how far it was read: moved in the transaction that loads the rows, so that each line is loaded once.';
comment on column logbox.access_log_sources.source_id is 'One file';
comment on column logbox.access_log_sources.store is 'Whose requests it tells of: embedded, replica, or aws';
comment on column logbox.access_log_sources.identity is 'A local file: the digest of its first line, whatever it is called now; an object: its URL';
comment on column logbox.access_log_sources.name is 'Where it was last seen';
comment on column logbox.access_log_sources.modified_at is 'When it was last written to (UTC)';
comment on column logbox.access_log_sources.position is 'Bytes of it that were read';
comment on column logbox.access_log_sources.lines is 'Lines of it that are rows of access_log, unless those are too old by now';
comment on column logbox.access_log_sources.unread_lines is 'Lines of it that could not be read';
comment on column logbox.access_log_sources.last_unread is 'The last of those: where it ends, why, and how it begins';
comment on column logbox.access_log_sources.last_unread_at is 'When that was found (UTC)';
comment on column logbox.access_log_sources.loaded_at is 'When it was last read (UTC)';

create table logbox.access_log (
    at timestamptz not null,
    day_on date not null generated always as ((at at time zone 'UTC')::date) stored,
    actor text not null check (actor in ('client', 'analyst', 'logbox', 'unknown')),
    client text,
    vehicle text,
    analyst text,
    key_id text,
    principal text,
    is_authenticated boolean not null,
    service text not null,
    operation text,
    is_part boolean not null,
    bucket text,
    object_key text,
    version_id text,
    status smallint,
    error text,
    is_refused boolean not null,
    bytes_in bigint,
    bytes_out bigint,
    duration_ms real,
    address text,
    request_id text,
    -- No foreign key: it would be looked up for each of millions of rows.
    source_id integer not null,
    check ((actor = 'client') = (client is not null)),
    check ((actor = 'analyst') = (analyst is not null))
);
-- Few days, many rows each: small, and what old rows are dropped by.
create index access_log_by_day on logbox.access_log (day_on);
create index access_log_refused on logbox.access_log (at) where is_refused;
-- By its hash: a key may be longer than another index takes.
create index access_log_by_object on logbox.access_log using hash (object_key);
comment on table logbox.access_log is 'Every request to the stores, for LOGBOX_ACCESS_LOG_DAYS: from the embedded S3''s own log, and from S3 server access logs.';
comment on column logbox.access_log.at is 'When it came (UTC)';
comment on column logbox.access_log.day_on is 'Day of that (UTC)';
comment on column logbox.access_log.actor is 'Whose key it was: a client''s, an analyst''s, Logbox''s own, or unknown';
comment on column logbox.access_log.client is 'The client';
comment on column logbox.access_log.vehicle is 'The vehicle that the key is narrowed to; null for a whole client''s';
comment on column logbox.access_log.analyst is 'The analyst';
comment on column logbox.access_log.key_id is 'The access key''s id as it was claimed; null when none was, and from AWS, which does not tell it';
comment on column logbox.access_log.principal is 'The IAM user as the store names it: a name, an ARN or an account';
comment on column logbox.access_log.is_authenticated is 'Whether the signature was right; otherwise key, client and analyst are only claimed';
comment on column logbox.access_log.service is 's3, iam, sts or sqs';
comment on column logbox.access_log.operation is 'What was asked, by its name in S3''s API (PutObject); null when it was nothing S3 knows';
comment on column logbox.access_log.is_part is 'One object of a request that has a row of its own with the same request_id: a key of a batch delete, the source of a copy';
comment on column logbox.access_log.bucket is 'The bucket; where a request is none of S3''s, the first part of its path';
comment on column logbox.access_log.object_key is 'The object''s key, as in deliveries.landing_key';
comment on column logbox.access_log.version_id is 'The version that was asked for or made';
comment on column logbox.access_log.status is 'HTTP status of the answer; null when none was sent';
comment on column logbox.access_log.error is 'The error code of the answer';
comment on column logbox.access_log.is_refused is 'The store said no to who asked or to what was asked; 404, 412 and a receipt that is not there yet are no refusals';
comment on column logbox.access_log.bytes_in is 'Bytes of the request''s body; from AWS, of the object that was put';
comment on column logbox.access_log.bytes_out is 'Bytes of the answer''s body';
comment on column logbox.access_log.duration_ms is 'Milliseconds from the request to the end of the answer';
comment on column logbox.access_log.address is 'Where it came from';
comment on column logbox.access_log.request_id is 'The store''s own id of the request';
comment on column logbox.access_log.source_id is 'The file it was read from (access_log_sources)';

-- migrate:down
drop table logbox.access_log;
drop table logbox.access_log_sources;
