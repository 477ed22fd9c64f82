-- What each client's fleet flew, and what logs of it arrived, day by day.
create or replace view analytics.fleet_by_day as
with flown as (
    select client, (started_before at time zone 'UTC')::date as day_on,
        count(distinct vehicle) as vehicles, count(*) as flights,
        sum(duration_s) / 3600 as flight_h, sum(distance_m) / 1000 as distance_km,
        max(max_alt_m) as max_alt_m,
        count(*) filter (where end_state not in ('landed', 'disarmed')) as unfinished_flights
    from logbox.flights
    group by 1, 2
),
arrived as (
    select client, received_on as day_on, count(*) as logs, sum(size_bytes)::bigint as size_bytes,
        count(*) filter (where is_damaged) as damaged_logs,
        count(*) filter (where state in ('unparsed', 'failed')) as unread_logs
    from logbox.logs
    group by 1, 2
)
select client, day_on, coalesce(vehicles, 0) as vehicles, coalesce(flights, 0) as flights,
    coalesce(flight_h, 0) as flight_h, distance_km, max_alt_m,
    coalesce(unfinished_flights, 0) as unfinished_flights, coalesce(logs, 0) as logs,
    coalesce(size_bytes, 0) as size_bytes, coalesce(damaged_logs, 0) as damaged_logs,
    coalesce(unread_logs, 0) as unread_logs
from flown
full join arrived using (client, day_on);
comment on view analytics.fleet_by_day is 'What each client''s fleet flew, and which logs of it arrived, by day (UTC). A flight counts on the day it began, a log on the day it arrived.';
comment on column analytics.fleet_by_day.client is 'Whose fleet';
comment on column analytics.fleet_by_day.day_on is 'The day (UTC)';
comment on column analytics.fleet_by_day.vehicles is 'Drones that flew';
comment on column analytics.fleet_by_day.flights is 'Flights that began; one of unknown time on the day its log arrived';
comment on column analytics.fleet_by_day.flight_h is 'Their hours in the air';
comment on column analytics.fleet_by_day.distance_km is 'Their way over ground in kilometres; null without a position';
comment on column analytics.fleet_by_day.max_alt_m is 'Greatest altitude above home in metres';
comment on column analytics.fleet_by_day.unfinished_flights is 'Those of them whose end no log shows: rebooted, lost, or the log ends in the air';
comment on column analytics.fleet_by_day.logs is 'Logs that arrived';
comment on column analytics.fleet_by_day.size_bytes is 'Their bytes';
comment on column analytics.fleet_by_day.damaged_logs is 'Those of them with bytes that gave no rows';
comment on column analytics.fleet_by_day.unread_logs is 'Those of them that no parser could read';
