-- migrate:up
comment on column logbox.batches.transient_failures is 'Failures because S3 or Postgres was away, or did not do what one file needs; the fourth of the second kind splits it, none makes a file fail';

-- migrate:down
comment on column logbox.batches.transient_failures is 'Failures because S3 or Postgres was away; never split it';
