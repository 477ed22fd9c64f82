-- migrate:up
alter table logbox.batches add column request_failures integer not null default 0;
comment on column logbox.batches.request_failures is 'Of the transient ones the last in a row that were requests to stores which answered others: the fourth splits the batch, none makes a file fail';
comment on column logbox.batches.transient_failures is 'Failures because S3 or Postgres was away, or failed a request; they make no file fail';

-- migrate:down
alter table logbox.batches drop column request_failures;
comment on column logbox.batches.transient_failures is 'Failures because S3 or Postgres was away, or did not do what one file needs; the fourth of the second kind splits it, none makes a file fail';
