-- migrate:up
comment on column logbox.batches.request_failures is 'Of the transient ones those that were requests to stores which answered others: the fourth splits the batch, none makes a file fail';

-- migrate:down
comment on column logbox.batches.request_failures is 'Of the transient ones the last in a row that were requests to stores which answered others: the fourth splits the batch, none makes a file fail';
