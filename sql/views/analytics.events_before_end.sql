-- What was said in a flight, counted back from its end: ask for s_before_end < 30 of one flight.
create or replace view analytics.events_before_end as
with heard as (
    -- Any log of the vehicle, the companion computer's too, as long as it knows the time.
    select f.flight_id, f.client, f.vehicle, f.end_state, e.log_id, e.seq, e.ts, e.t_boot_us,
        extract(epoch from f.landed_at - e.ts)::double precision as s_before_end,
        e.level, e.source, e.message, e.attributes
    from logbox.flights f
    cross join lateral (
        select log_id
        from logbox.logs
        where (client, vehicle) = (f.client, f.vehicle)
            and recorded_from is not null
            and recorded_to is not null
            and tstzrange(
                least(recorded_from, recorded_to), greatest(recorded_from, recorded_to), '[]'
            ) && tstzrange(
                least(f.takeoff_at, f.landed_at), greatest(f.takeoff_at, f.landed_at), '[]'
            )
        -- Before any event is read: else all events of the vehicle are, once for each flight.
        offset 0
    ) as l
    join logbox.log_events e on e.log_id = l.log_id and e.ts between f.takeoff_at and f.landed_at
    where f.takeoff_at is not null and f.landed_at is not null
    union all
    -- Without a trusted time, or a vehicle: the logs that saw the flight.
    select f.flight_id, f.client, f.vehicle, f.end_state, e.log_id, e.seq, e.ts, e.t_boot_us,
        case m.timed_by
            when 'utc' then extract(epoch from m.landed_at - e.ts)::double precision
            else (m.landed_t_boot_us - e.t_boot_us) / 1e6::double precision
        end,
        e.level, e.source, e.message, e.attributes
    from logbox.flights f
    join logbox.flight_logs m using (flight_id)
    join logbox.log_events e
        on e.log_id = m.log_id
        and (
            (m.timed_by = 'utc' and e.ts between m.takeoff_at and m.landed_at)
            or (
                m.timed_by = 'boot_clock'
                and e.t_boot_us between m.takeoff_t_boot_us and m.landed_t_boot_us
            )
        )
    where f.takeoff_at is null or f.vehicle is null
)
select flight_id, client, vehicle, end_state, s_before_end, level,
    (array['emergency', 'alert', 'critical', 'error', 'warning', 'notice', 'info', 'debug'])
        [level + 1] as level_name,
    source, message, attributes, ts, t_boot_us, log_id, seq
from heard;
comment on view analytics.events_before_end is 'Events between takeoff and end of each flight, from every log of its vehicle, by how long before the end they were.';
comment on column analytics.events_before_end.flight_id is 'The flight (logbox.flights)';
comment on column analytics.events_before_end.client is 'Whose flight';
comment on column analytics.events_before_end.vehicle is 'The drone';
comment on column analytics.events_before_end.end_state is 'How the flight ended (flights.end_state)';
comment on column analytics.events_before_end.s_before_end is 'Seconds before the end of the flight';
comment on column analytics.events_before_end.level is 'Syslog severity: 0 emergency to 7 debug; null when the source says none';
comment on column analytics.events_before_end.level_name is 'The same as a word';
comment on column analytics.events_before_end.source is 'Who said it: a module, a logger, or Logbox itself (logbox.*)';
comment on column analytics.events_before_end.message is 'The text';
comment on column analytics.events_before_end.attributes is 'Everything else the source said';
comment on column analytics.events_before_end.ts is 'Time in UTC; null where nobody knows';
comment on column analytics.events_before_end.t_boot_us is 'Boot clock in microseconds; null where there is none';
comment on column analytics.events_before_end.log_id is 'The log that says so';
comment on column analytics.events_before_end.seq is 'Order in that log, from 0';
