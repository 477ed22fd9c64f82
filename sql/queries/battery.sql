-- How deep each flight went into its battery: telemetry is one typed table per topic.
select l.client, l.vehicle, l.recorded_from, l.recorded_to,
    min(b.voltage_v) as lowest_v, max(b.current_a) as highest_a,
    min(b.remaining) as lowest_remaining
from telemetry.ulog_battery_status b
join logbox.logs l using (log_id)
where b.received_on >= current_date - 30
group by l.log_id
order by lowest_v;
