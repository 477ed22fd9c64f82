-- migrate:up
create schema logbox;
create schema telemetry;
create schema telemetry_parts;
comment on schema logbox is 'The catalog: what arrived, what became of it, and the events of every log.';
comment on schema telemetry is 'One typed table per (format, topic), made by the loader.';
comment on schema telemetry_parts is 'The monthly partitions of the tables in telemetry; query those instead.';

create domain logbox.sha256 as text check (value ~ '^[0-9a-f]{64}$');
comment on domain logbox.sha256 is 'SHA-256 digest, lower-case hex';

create table logbox.clients (
    client text primary key check (client ~ '^[a-z0-9][a-z0-9-]{1,30}[a-z0-9]$'),
    created_at timestamptz not null,
    revoked_at timestamptz
);
comment on table logbox.clients is 'Tenants: each uploads below landing/<client>/ with keys of its own.';
comment on column logbox.clients.client is 'The name, also its folder in landing';
comment on column logbox.clients.created_at is 'When it was added (UTC)';
comment on column logbox.clients.revoked_at is 'When its keys were taken away (UTC); null while it may upload';

create table logbox.client_keys (
    access_key_id text primary key,
    client text not null references logbox.clients,
    vehicle text,
    iam_user text not null,
    created_at timestamptz not null,
    revoked_at timestamptz
);
create index on logbox.client_keys (client);
comment on table logbox.client_keys is 'Keys handed out; never a secret.';
comment on column logbox.client_keys.access_key_id is 'The public half of the key, as in the access log';
comment on column logbox.client_keys.client is 'Whose key it is';
comment on column logbox.client_keys.vehicle is 'The only vehicle folder it may write to; null for the whole client';
comment on column logbox.client_keys.iam_user is 'The IAM user that holds the key';
comment on column logbox.client_keys.created_at is 'When it was made (UTC)';
comment on column logbox.client_keys.revoked_at is 'When it stopped working (UTC)';

create table logbox.analysts (
    analyst text primary key,
    created_at timestamptz not null,
    revoked_at timestamptz,
    access_key_id text
);
comment on table logbox.analysts is 'People who read: a Postgres login in logbox_reader and a key for the lake.';
comment on column logbox.analysts.analyst is 'The name; the login role is analyst_<name>';
comment on column logbox.analysts.created_at is 'When it was added (UTC)';
comment on column logbox.analysts.revoked_at is 'When it was taken away (UTC)';
comment on column logbox.analysts.access_key_id is 'The public half of the lake key';

create table logbox.vehicles (
    client text not null references logbox.clients,
    vehicle text not null,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    primary key (client, vehicle)
);
comment on table logbox.vehicles is 'Drones, by the folder name they upload under.';
comment on column logbox.vehicles.client is 'Whose drone it is';
comment on column logbox.vehicles.vehicle is 'The first folder below the client in landing: a claim, see logs.vehicle_uid';
comment on column logbox.vehicles.first_seen_at is 'received_at of its first delivery (UTC)';
comment on column logbox.vehicles.last_seen_at is 'received_at of its newest delivery (UTC)';

create table logbox.batches (
    batch_id uuid primary key,
    received_on date not null,
    state text not null default 'open'
        check (state in ('open', 'running', 'loaded', 'finished', 'split', 'failed')),
    attempt integer not null default 1 check (attempt > 0),
    files integer not null check (files > 0),
    size_bytes bigint not null,
    created_at timestamptz not null,
    not_before timestamptz,
    run_id text,
    started_at timestamptz,
    heartbeat_at timestamptz,
    loaded_at timestamptz,
    finished_at timestamptz,
    failures integer not null default 0,
    transient_failures integer not null default 0,
    last_error text,
    parent_batch_id uuid references logbox.batches,
    check ((state = 'running') <= (run_id is not null and heartbeat_at is not null))
);
create index on logbox.batches (created_at) where state in ('open', 'running', 'loaded');
create index on logbox.batches (received_on);
create index on logbox.batches (parent_batch_id) where parent_batch_id is not null;
comment on table logbox.batches is 'What one run works on: deliveries of one day. An outbox: open ones are offered to Dagster until they are done.';
comment on column logbox.batches.batch_id is 'Derived from the first delivery and the time of forming';
comment on column logbox.batches.received_on is 'The day (UTC) its deliveries arrived: the Dagster partition';
comment on column logbox.batches.state is 'open: to be offered; running: claimed by run_id; loaded: rows committed, outcome and landing still to settle; finished; split: its deliveries moved to two halves; failed: its one file is poison';
comment on column logbox.batches.attempt is 'Fencing token: a run whose attempt is not this one may not commit or delete';
comment on column logbox.batches.files is 'Deliveries it was formed of';
comment on column logbox.batches.size_bytes is 'Their bytes';
comment on column logbox.batches.created_at is 'When it was formed (UTC)';
comment on column logbox.batches.not_before is 'Not offered before (UTC): back-off after a transient failure';
comment on column logbox.batches.run_id is 'The Dagster run that claimed the current attempt';
comment on column logbox.batches.started_at is 'When that run claimed it (UTC)';
comment on column logbox.batches.heartbeat_at is 'Last sign of life of that run (UTC)';
comment on column logbox.batches.loaded_at is 'When its load transaction committed (UTC)';
comment on column logbox.batches.finished_at is 'When its outcome was written and landing was clear (UTC)';
comment on column logbox.batches.failures is 'Deaths and permanent errors; two split it';
comment on column logbox.batches.transient_failures is 'Failures because S3 or Postgres was away; never split it';
comment on column logbox.batches.last_error is 'What ended the last failed attempt';
comment on column logbox.batches.parent_batch_id is 'The batch it was split from';

create table logbox.objects (
    client text not null references logbox.clients,
    sha256 logbox.sha256 not null,
    archive_key text not null unique,
    version_id text,
    size_bytes bigint not null check (size_bytes >= 0),
    archived_at timestamptz,
    replicated_at timestamptz,
    primary key (client, sha256)
);
comment on table logbox.objects is 'Archived bytes, once each per client.';
comment on column logbox.objects.client is 'Whose bytes';
comment on column logbox.objects.sha256 is 'Digest of the bytes as uploaded';
comment on column logbox.objects.archive_key is 'Where they stand in the archive bucket';
comment on column logbox.objects.version_id is 'The archive version proven to be these bytes';
comment on column logbox.objects.size_bytes is 'Their size';
comment on column logbox.objects.archived_at is 'When the archive copy was proven (UTC); null while it is being made';
comment on column logbox.objects.replicated_at is 'When the replica was proven (UTC)';

create table logbox.deliveries (
    delivery_id uuid primary key,
    bucket text not null,
    landing_key text not null,
    etag text not null,
    received_at timestamptz not null,
    received_on date not null generated always as ((received_at at time zone 'UTC')::date) stored,
    arrival integer not null default 1,
    client text not null,
    vehicle text,
    name text not null,
    size_bytes bigint not null check (size_bytes >= 0),
    sensed_at timestamptz not null,
    state text not null default 'received' check (state in (
        'received', 'waiting', 'verified', 'archived', 'quarantined', 'duplicate', 'vanished', 'failed', 'erased'
    )),
    reason text,
    detail text,
    batch_id uuid references logbox.batches,
    waiting_until timestamptz,
    version_id text,
    sidecar_version_id text,
    declared_sha256 logbox.sha256,
    declared_by text check (declared_by in ('metadata', 'checksum', 'sidecar')),
    sha256 logbox.sha256,
    verdict text check (verdict in ('verified', 'mismatch', 'undeclared', 'unreadable')),
    verified_at timestamptz,
    archived_at timestamptz,
    duplicate_of uuid,
    quarantine_key text,
    quarantined_at timestamptz,
    released_at timestamptz,
    acknowledged_at timestamptz,
    note text,
    left_landing_at timestamptz,
    check ((state in ('quarantined', 'vanished', 'failed')) <= (reason is not null)),
    check ((state = 'archived') <= (sha256 is not null and archived_at is not null)),
    check ((state = 'quarantined' and left_landing_at is not null) <= (quarantine_key is not null)),
    check ((state = 'duplicate') <= (duplicate_of is not null))
);
-- By the key's digest: a key may be longer than an index takes.
create unique index deliveries_standing on logbox.deliveries (bucket, md5(landing_key), etag, received_at)
    where left_landing_at is null;
create index deliveries_by_key on logbox.deliveries (bucket, md5(landing_key), received_at);
create index on logbox.deliveries (batch_id);
create index on logbox.deliveries (client, received_at);
create index on logbox.deliveries (received_on);
create index on logbox.deliveries (sha256);
create index on logbox.deliveries (declared_sha256);
create index on logbox.deliveries (name);
create index on logbox.deliveries (vehicle, received_on);
create index on logbox.deliveries (sensed_at) where batch_id is null and state in ('received', 'waiting');
create index on logbox.deliveries (state, reason) where state in ('quarantined', 'failed', 'vanished', 'waiting');
comment on table logbox.deliveries is 'One object seen in landing: what it claimed to be, what it was, what became of it.';
comment on column logbox.deliveries.delivery_id is 'Derived from bucket, key, etag, received_at and arrival';
comment on column logbox.deliveries.bucket is 'Bucket it was seen in';
comment on column logbox.deliveries.landing_key is 'Its key there';
comment on column logbox.deliveries.etag is 'The store''s etag as listed, without quotes';
comment on column logbox.deliveries.received_at is 'When it arrived in S3: its last-modified time (UTC)';
comment on column logbox.deliveries.received_on is 'Day of received_at (UTC)';
comment on column logbox.deliveries.arrival is '1, or 2 and up when an equal object came after an earlier one had left landing';
comment on column logbox.deliveries.client is 'Whose folder it lay in, or unknown-client';
comment on column logbox.deliveries.vehicle is 'First folder below the client: a claim';
comment on column logbox.deliveries.name is 'Last segment of the key';
comment on column logbox.deliveries.size_bytes is 'Size as listed';
comment on column logbox.deliveries.sensed_at is 'When the sensor first saw it (UTC)';
comment on column logbox.deliveries.state is 'received, waiting (for its sidecar), verified, archived, quarantined, duplicate, vanished, failed or erased; what became of its rows stands in logs.state';
comment on column logbox.deliveries.reason is 'Why it was refused or failed, in one word';
comment on column logbox.deliveries.detail is 'The same for a person: what was expected, what was found';
comment on column logbox.deliveries.batch_id is 'The batch that handles it; null until one does';
comment on column logbox.deliveries.waiting_until is 'When it stops waiting for a sidecar (UTC)';
comment on column logbox.deliveries.version_id is 'The landing version that was read; only that one is deleted';
comment on column logbox.deliveries.sidecar_version_id is 'The version of the sidecar that was read; it leaves landing with its object';
comment on column logbox.deliveries.declared_sha256 is 'The digest the drone declared';
comment on column logbox.deliveries.declared_by is 'Where it declared it';
comment on column logbox.deliveries.sha256 is 'The digest Logbox computed';
comment on column logbox.deliveries.verdict is 'Declared against computed';
comment on column logbox.deliveries.verified_at is 'When that was decided (UTC)';
comment on column logbox.deliveries.archived_at is 'When its bytes were proven to stand in the archive (UTC)';
comment on column logbox.deliveries.duplicate_of is 'The log_id it repeats';
comment on column logbox.deliveries.quarantine_key is 'Where its bytes stand in quarantine (landing bucket)';
comment on column logbox.deliveries.quarantined_at is 'When it was refused (UTC)';
comment on column logbox.deliveries.released_at is 'When a person let it through (UTC)';
comment on column logbox.deliveries.acknowledged_at is 'When a person took note; its check no longer warns (UTC)';
comment on column logbox.deliveries.note is 'What that person wrote';
comment on column logbox.deliveries.left_landing_at is 'When its bytes left landing (UTC)';

create table logbox.logs (
    log_id uuid primary key,
    client text not null references logbox.clients,
    vehicle text,
    content_sha256 logbox.sha256 not null,
    delivery_id uuid not null references logbox.deliveries,
    received_at timestamptz not null,
    received_on date not null,
    size_bytes bigint not null,
    state text not null default 'archived'
        check (state in ('archived', 'parsed', 'unparsed', 'loaded', 'failed', 'erased')),
    reason text,
    detail text,
    format text,
    parser_version integer,
    vehicle_uid text,
    firmware text,
    hardware text,
    time_source text check (time_source in ('gps', 'rtc', 'gcs', 'log', 'none')),
    time_error_ms bigint,
    recorded_from timestamptz,
    recorded_to timestamptz,
    telemetry_rows bigint,
    events bigint,
    parameters bigint,
    is_damaged boolean not null default false,
    damaged_bytes bigint not null default 0,
    info jsonb,
    loaded_at timestamptz,
    check ((state = 'loaded') <= (format is not null and loaded_at is not null and telemetry_rows is not null)),
    check ((state in ('unparsed', 'failed')) <= (reason is not null))
);
create index on logbox.logs (delivery_id);
create index on logbox.logs (received_on);
create index on logbox.logs (client, vehicle, recorded_from);
create index on logbox.logs (content_sha256);
create index on logbox.logs (state, reason) where state in ('unparsed', 'failed');
comment on table logbox.logs is 'One finished log; identity is its content''s digest.';
comment on column logbox.logs.log_id is 'uuid5 of client and content_sha256';
comment on column logbox.logs.client is 'Whose log';
comment on column logbox.logs.vehicle is 'The drone, as its first delivery claimed';
comment on column logbox.logs.content_sha256 is 'Digest of the innermost decompressed log';
comment on column logbox.logs.delivery_id is 'The delivery that owns it: its batch parses and loads it';
comment on column logbox.logs.received_at is 'When that delivery arrived (UTC)';
comment on column logbox.logs.received_on is 'Day of received_at (UTC)';
comment on column logbox.logs.size_bytes is 'Bytes of the innermost log';
comment on column logbox.logs.state is 'archived, parsed, unparsed (kept, not readable), loaded, failed or erased';
comment on column logbox.logs.reason is 'Why it is unparsed or failed, in one word';
comment on column logbox.logs.detail is 'The same for a person';
comment on column logbox.logs.format is 'Recognized by content: ulog, jsonl';
comment on column logbox.logs.parser_version is 'Version of the parser that read it';
comment on column logbox.logs.vehicle_uid is 'The hardware id in the log itself';
comment on column logbox.logs.firmware is 'Firmware version in the log';
comment on column logbox.logs.hardware is 'Board or airframe in the log';
comment on column logbox.logs.time_source is 'Where UTC comes from';
comment on column logbox.logs.time_error_ms is 'Spread of that source in milliseconds';
comment on column logbox.logs.recorded_from is 'First time recorded (UTC)';
comment on column logbox.logs.recorded_to is 'Last time recorded (UTC)';
comment on column logbox.logs.telemetry_rows is 'Rows over all topics';
comment on column logbox.logs.events is 'Rows in log_events';
comment on column logbox.logs.parameters is 'Rows in log_parameters';
comment on column logbox.logs.is_damaged is 'Some bytes gave no rows';
comment on column logbox.logs.damaged_bytes is 'How many';
comment on column logbox.logs.info is 'What else the log says of itself';
comment on column logbox.logs.loaded_at is 'When its rows were committed (UTC)';

create table logbox.object_logs (
    client text not null,
    sha256 logbox.sha256 not null,
    member text not null default '',
    log_id uuid not null references logbox.logs,
    primary key (client, sha256, member),
    foreign key (client, sha256) references logbox.objects
);
create index on logbox.object_logs (log_id);
comment on table logbox.object_logs is 'Which archived object holds which log; a zip holds several.';
comment on column logbox.object_logs.client is 'Whose object';
comment on column logbox.object_logs.sha256 is 'The object''s digest';
comment on column logbox.object_logs.member is 'Name inside the object; empty when the object is the log';
comment on column logbox.object_logs.log_id is 'The log';

create table logbox.log_topics (
    log_id uuid not null references logbox.logs,
    topic text not null,
    instance integer not null,
    rows bigint not null,
    first_t_boot_us bigint,
    last_t_boot_us bigint,
    table_name text not null,
    lake_only_reason text,
    primary key (log_id, topic, instance)
);
comment on table logbox.log_topics is 'What each log holds, topic by topic.';
comment on column logbox.log_topics.log_id is 'The log';
comment on column logbox.log_topics.topic is 'The source''s own name';
comment on column logbox.log_topics.instance is 'Instance number, 0 for the first';
comment on column logbox.log_topics.rows is 'Rows of it';
comment on column logbox.log_topics.first_t_boot_us is 'First boot clock in microseconds';
comment on column logbox.log_topics.last_t_boot_us is 'Last boot clock in microseconds';
comment on column logbox.log_topics.table_name is 'Table in schema telemetry and folder in the lake';
comment on column logbox.log_topics.lake_only_reason is 'Why its rows are in the lake only; null when they are in Postgres too';

create table logbox.log_parameters (
    log_id uuid not null references logbox.logs,
    seq integer not null,
    t_boot_us bigint,
    name text not null,
    kind text not null check (kind in ('initial', 'changed', 'default_system', 'default_airframe')),
    value double precision,
    value_type text not null,
    primary key (log_id, seq)
);
comment on table logbox.log_parameters is 'Parameters of every log, and their changes in flight.';
comment on column logbox.log_parameters.log_id is 'The log';
comment on column logbox.log_parameters.seq is 'Order in the log, from 0';
comment on column logbox.log_parameters.t_boot_us is 'Boot clock of the change in microseconds; null for initial values';
comment on column logbox.log_parameters.name is 'The source''s own name';
comment on column logbox.log_parameters.kind is 'initial, changed in flight, or a default';
comment on column logbox.log_parameters.value is 'The value';
comment on column logbox.log_parameters.value_type is 'The source''s type: int32, float';

create table logbox.log_events (
    log_id uuid not null,
    seq bigint not null,
    ts timestamptz,
    t_boot_us bigint,
    level smallint check (level between 0 and 7),
    source text,
    message text,
    attributes jsonb,
    primary key (log_id, seq)
);
comment on table logbox.log_events is 'Every text message, mode change, error, dropout, JSON line of every log. log_id stands in logs; the loader sees to it in the same transaction.';
comment on column logbox.log_events.log_id is 'The log';
comment on column logbox.log_events.seq is 'Order in the log, from 0';
comment on column logbox.log_events.ts is 'Time in UTC; null where nobody knows';
comment on column logbox.log_events.t_boot_us is 'Boot clock in microseconds; null where there is none';
comment on column logbox.log_events.level is 'Syslog severity: 0 emergency to 7 debug; null when the source says none';
comment on column logbox.log_events.source is 'Who said it: a module, logger or Logbox itself (logbox.*)';
comment on column logbox.log_events.message is 'The text';
comment on column logbox.log_events.attributes is 'Everything else the source said';

create table logbox.telemetry_columns (
    table_name text not null,
    column_name text not null,
    format text not null,
    topic text not null,
    source_name text not null,
    position integer not null,
    type text not null,
    unit text,
    scale double precision,
    definition text,
    created_at timestamptz not null,
    primary key (table_name, column_name),
    unique (table_name, position)
);
create index on logbox.telemetry_columns (format, topic);
comment on table logbox.telemetry_columns is 'Names of telemetry tables and columns, given once and kept: the same in Postgres, the lake and after a rebuild.';
comment on column logbox.telemetry_columns.table_name is 'Table in schema telemetry and folder in the lake';
comment on column logbox.telemetry_columns.column_name is 'Column name in both';
comment on column logbox.telemetry_columns.format is 'Log format';
comment on column logbox.telemetry_columns.topic is 'Topic as the source names it';
comment on column logbox.telemetry_columns.source_name is 'Field as the source names it';
comment on column logbox.telemetry_columns.position is 'Order in the table, from 1';
comment on column logbox.telemetry_columns.type is 'Postgres type';
comment on column logbox.telemetry_columns.unit is 'Unit, where the source or its definition gives one';
comment on column logbox.telemetry_columns.scale is 'Factor already applied to the raw value';
comment on column logbox.telemetry_columns.definition is 'Where name, unit and scale come from';
comment on column logbox.telemetry_columns.created_at is 'When it was first needed (UTC)';

create table logbox.lake_files (
    lake_key text primary key,
    table_name text not null,
    received_on date not null,
    batch_id uuid not null references logbox.batches,
    attempt integer not null,
    state text not null check (state in ('planned', 'live', 'replaced', 'abandoned')),
    rows bigint not null,
    size_bytes bigint not null,
    sha256 logbox.sha256 not null,
    planned_at timestamptz not null,
    live_at timestamptz,
    replaced_at timestamptz
);
create index on logbox.lake_files (batch_id);
create index on logbox.lake_files (table_name, received_on) where state = 'live';
create index on logbox.lake_files (planned_at) where state in ('replaced', 'abandoned');
comment on table logbox.lake_files is 'Which Parquet files count. live ones hold each log''s rows exactly once.';
comment on column logbox.lake_files.lake_key is 'Key in the lake bucket';
comment on column logbox.lake_files.table_name is 'Which table''s rows';
comment on column logbox.lake_files.received_on is 'Day of its logs (UTC)';
comment on column logbox.lake_files.batch_id is 'The batch that wrote it';
comment on column logbox.lake_files.attempt is 'And which attempt';
comment on column logbox.lake_files.state is 'planned: about to be put; live; replaced: superseded, deleted after the grace; abandoned: a dead attempt''s, to be deleted';
comment on column logbox.lake_files.rows is 'Rows in it';
comment on column logbox.lake_files.size_bytes is 'Its size';
comment on column logbox.lake_files.sha256 is 'Its digest';
comment on column logbox.lake_files.planned_at is 'When it was about to be put (UTC)';
comment on column logbox.lake_files.live_at is 'When its rows began to count (UTC)';
comment on column logbox.lake_files.replaced_at is 'When they stopped counting (UTC)';

create table logbox.drifts (
    drift_id uuid primary key,
    kind text not null check (kind in ('missing', 'unexpected', 'mismatch', 'stale', 'unreadable')),
    place text not null,
    subject text not null,
    expected text,
    found text,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    resolved_at timestamptz,
    acknowledged_at timestamptz,
    note text
);
create index on logbox.drifts (last_seen_at) where resolved_at is null;
comment on table logbox.drifts is 'Differences between what should stand somewhere and what does.';
comment on column logbox.drifts.drift_id is 'uuid5 of kind, place and subject';
comment on column logbox.drifts.kind is 'missing, unexpected, mismatch, stale or unreadable';
comment on column logbox.drifts.place is 'archive, landing, lake, postgres, replica';
comment on column logbox.drifts.subject is 'The key, log or delivery it is about';
comment on column logbox.drifts.expected is 'What should be there';
comment on column logbox.drifts.found is 'What is there';
comment on column logbox.drifts.first_seen_at is 'When it was first seen (UTC)';
comment on column logbox.drifts.last_seen_at is 'When it was last seen (UTC)';
comment on column logbox.drifts.resolved_at is 'When it was gone (UTC)';
comment on column logbox.drifts.acknowledged_at is 'When a person took note (UTC)';
comment on column logbox.drifts.note is 'What that person wrote';

create table logbox.pipeline_state (
    is_only boolean primary key default true check (is_only),
    paused_at timestamptz,
    paused_by text,
    last_tick_at timestamptz
);
insert into logbox.pipeline_state default values;
comment on table logbox.pipeline_state is 'One row: whether batches are offered, and when the sensor last looked.';
comment on column logbox.pipeline_state.is_only is 'Keeps it to one row';
comment on column logbox.pipeline_state.paused_at is 'Since when no batch is offered (UTC); null when running';
comment on column logbox.pipeline_state.paused_by is 'Who paused it, and why';
comment on column logbox.pipeline_state.last_tick_at is 'When the landing sensor last finished a tick (UTC)';

-- migrate:down
drop schema telemetry_parts cascade;
drop schema telemetry cascade;
drop schema logbox cascade;
