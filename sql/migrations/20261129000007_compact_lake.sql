-- migrate:up
-- The sweep asks which replaced files are compaction's: those replaced when such a file went live.
create index lake_files_compacted on logbox.lake_files (live_at) where attempt = 0;
comment on column logbox.lake_files.batch_id is 'The batch that wrote it; of a compacted file the newest of batch_ids';
comment on column logbox.lake_files.attempt is 'And which attempt; 0: compaction';

-- migrate:down
comment on column logbox.lake_files.attempt is 'And which attempt';
comment on column logbox.lake_files.batch_id is 'The batch that wrote it';
drop index logbox.lake_files_compacted;
