-- migrate:up
alter table logbox.object_logs
    alter column log_id drop not null,
    add column reason text,
    add column detail text,
    add constraint object_logs_read_or_refused check ((log_id is null) = (reason is not null)),
    add constraint object_logs_detail_check check ((detail is null) = (reason is null));
create index object_logs_by_name on logbox.object_logs ((regexp_replace(member, '^.*/', ''))) where member <> '';
comment on table logbox.object_logs is 'What each archived object holds: one log, or the members of an archive, read or refused.';
comment on column logbox.object_logs.member is 'Name inside the object, folders and inner archives separated by /; empty when the object is the log or a wrapper around this one stream';
comment on column logbox.object_logs.log_id is 'The log; null when the member was refused';
comment on column logbox.object_logs.reason is 'Why the member was not read, in one word';
comment on column logbox.object_logs.detail is 'The same for a person';

alter table logbox.logs add column batch_id uuid references logbox.batches;
create index on logbox.logs (batch_id);
comment on column logbox.logs.batch_id is 'The batch whose load committed its rows; null until one has';
update logbox.logs l
set batch_id = d.batch_id
from logbox.deliveries d
where d.delivery_id = l.delivery_id and l.state = 'loaded';

-- migrate:down
alter table logbox.logs drop column batch_id;
drop index logbox.object_logs_by_name;
delete from logbox.object_logs where log_id is null;
alter table logbox.object_logs
    drop constraint object_logs_detail_check,
    drop constraint object_logs_read_or_refused,
    drop column detail,
    drop column reason,
    alter column log_id set not null;
comment on table logbox.object_logs is 'Which archived object holds which log; a zip holds several.';
comment on column logbox.object_logs.member is 'Name inside the object; empty when the object is the log';
comment on column logbox.object_logs.log_id is 'The log';
