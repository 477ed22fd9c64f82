-- migrate:up
alter table logbox.logs
    add column head bytea check (octet_length(head) <= 64),
    add column marks bigint[],
    add column superseded_by uuid references logbox.logs,
    add column superseded_at timestamptz,
    add constraint logs_superseded_check check ((superseded_by is null) = (superseded_at is null)),
    add constraint logs_superseded_state_check check (superseded_by is null or state = 'archived');
create index logs_by_head on logbox.logs (client, substring(head from 1 for 16)) where superseded_by is null;
create index logs_tiny on logbox.logs (client) where size_bytes < 16 and superseded_by is null;
create index on logbox.logs (superseded_by) where superseded_by is not null;
comment on column logbox.logs.head is 'Its first 64 bytes, fewer when it has fewer: logs that begin alike are found by it; null for logs older than this column';
comment on column logbox.logs.marks is 'Digests (8 bytes) of the 256 bytes before 1 KiB, 16 KiB, 256 KiB, 4 MiB, 64 MiB and 1 GiB, as far as it reaches';
comment on column logbox.logs.superseded_by is 'The longer log that begins with this whole one and has its rows; this one is archived and has none';
comment on column logbox.logs.superseded_at is 'Since when (UTC)';

alter table logbox.lake_files add column batch_ids uuid[];
update logbox.lake_files set batch_ids = array[batch_id];
alter table logbox.lake_files alter column batch_ids set not null;
create index on logbox.lake_files using gin (batch_ids) where state = 'live';
comment on column logbox.lake_files.batch_ids is 'Batches of whose logs it holds rows (logs.batch_id)';

-- migrate:down
alter table logbox.lake_files drop column batch_ids;
alter table logbox.logs
    drop column superseded_at,
    drop column superseded_by,
    drop column marks,
    drop column head;
