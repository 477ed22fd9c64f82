-- The newest errors of every vehicle, whatever format they were logged in.
select l.client, l.vehicle, e.ts, e.level, e.source, e.message, e.attributes
from logbox.log_events e
join logbox.logs l using (log_id)
where e.level <= 3 and l.received_on >= current_date - 7
order by e.ts desc nulls last, l.log_id, e.seq
limit 50;
