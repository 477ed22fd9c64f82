-- Which vehicle complains of what.
create or replace view analytics.errors_by_vehicle as
select l.client, l.vehicle, e.level,
    (array['emergency', 'alert', 'critical', 'error'])[e.level + 1] as level_name, e.source,
    count(*) as events, count(distinct e.log_id) as logs,
    min(coalesce(e.ts, l.received_at)) as first_at, max(coalesce(e.ts, l.received_at)) as last_at,
    (array_agg(e.message order by coalesce(e.ts, l.received_at) desc, e.seq desc))[1]
        as newest_message
from logbox.log_events e
join logbox.logs l using (log_id)
where e.level <= 3
group by 1, 2, 3, 4, 5;
comment on view analytics.errors_by_vehicle is 'Events of level error and worse, by vehicle, level and source.';
comment on column analytics.errors_by_vehicle.client is 'Whose drone';
comment on column analytics.errors_by_vehicle.vehicle is 'The drone';
comment on column analytics.errors_by_vehicle.level is 'Syslog severity: 0 emergency to 3 error';
comment on column analytics.errors_by_vehicle.level_name is 'The same as a word';
comment on column analytics.errors_by_vehicle.source is 'Who said it: a module, a logger, or Logbox itself (logbox.*)';
comment on column analytics.errors_by_vehicle.events is 'How often';
comment on column analytics.errors_by_vehicle.logs is 'In how many logs';
comment on column analytics.errors_by_vehicle.first_at is 'First time (UTC); the arrival of its log where nobody knows';
comment on column analytics.errors_by_vehicle.last_at is 'Last time (UTC); the arrival of its log where nobody knows';
comment on column analytics.errors_by_vehicle.newest_message is 'What was said last';
