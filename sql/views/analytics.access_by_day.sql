-- Who did what at the stores, day by day.
create or replace view analytics.access_by_day as
select day_on, coalesce(client, analyst, actor) as who, actor, client, vehicle, analyst, key_id,
    service, operation, is_authenticated,
    count(*) filter (where not is_part) as requests,
    count(distinct (bucket, object_key)) filter (where object_key is not null) as objects,
    count(*) filter (where is_refused and not is_part) as refused,
    coalesce(sum(bytes_in), 0)::bigint as bytes_in,
    coalesce(sum(bytes_out), 0)::bigint as bytes_out,
    count(distinct address) as addresses, min(at) as first_at, max(at) as last_at
from logbox.access_log
group by day_on, client, analyst, actor, vehicle, key_id, service, operation, is_authenticated;
comment on view analytics.access_by_day is 'Who did what at the stores, by day (UTC): requests, objects, bytes and refusals per key and operation. Say which days: it adds up every request of them.';
comment on column analytics.access_by_day.day_on is 'The day (UTC)';
comment on column analytics.access_by_day.who is 'The client''s or analyst''s name, logbox, or unknown';
comment on column analytics.access_by_day.actor is 'client, analyst, logbox or unknown: what who is the name of';
comment on column analytics.access_by_day.client is 'The client';
comment on column analytics.access_by_day.vehicle is 'The vehicle that the key is narrowed to';
comment on column analytics.access_by_day.analyst is 'The analyst';
comment on column analytics.access_by_day.key_id is 'The access key''s id; null from AWS, which does not tell it';
comment on column analytics.access_by_day.service is 's3, iam, sts or sqs';
comment on column analytics.access_by_day.operation is 'What was asked, by its name in S3''s API';
comment on column analytics.access_by_day.is_authenticated is 'Whether the signature was right; otherwise anybody may have claimed the key';
comment on column analytics.access_by_day.requests is 'Requests; the objects of a batch delete and the source of a copy count with theirs';
comment on column analytics.access_by_day.objects is 'Different objects they named';
comment on column analytics.access_by_day.refused is 'Requests to which the store said no';
comment on column analytics.access_by_day.bytes_in is 'Bytes sent to the store';
comment on column analytics.access_by_day.bytes_out is 'Bytes sent by the store';
comment on column analytics.access_by_day.addresses is 'Different addresses they came from';
comment on column analytics.access_by_day.first_at is 'The first of them (UTC)';
comment on column analytics.access_by_day.last_at is 'The last of them (UTC)';
