-- migrate:up
-- What a tick or a batch asks must cost the same with a million logs as with a thousand.

-- Logs of one vehicle begin alike (a DataFlash log with its definitions, a CSV with its header), so
-- the first 16 bytes found every log of the client. Now the index knows vehicle, head and marks:
-- arrays sort element by element, so all that begin with some marks stand together.
drop index logbox.logs_by_head;
drop index logbox.logs_tiny;
create index logs_by_beginning on logbox.logs (client, (coalesce(vehicle, '')), head, marks)
    where superseded_by is null;
create index logs_tiny on logbox.logs (client, (coalesce(vehicle, '')))
    where size_bytes < 64 and superseded_by is null;

-- Which runs finished lately, each tick.
create index batches_finished on logbox.batches (finished_at) where state = 'finished';

-- What is about to be put is little; what compaction has made grows for ever.
create index lake_files_planned on logbox.lake_files (planned_at) where state = 'planned';

-- The journal looks at what is owed to the archive alone: receipts pile up while there is no key to
-- sign them with.
create index outbox_untold on logbox.outbox (changed_at) where subject <> 'receipt';

-- migrate:down
drop index logbox.outbox_untold;
drop index logbox.lake_files_planned;
drop index logbox.batches_finished;
drop index logbox.logs_tiny;
drop index logbox.logs_by_beginning;
create index logs_by_head on logbox.logs (client, substring(head from 1 for 16)) where superseded_by is null;
create index logs_tiny on logbox.logs (client) where size_bytes < 16 and superseded_by is null;
