-- From one charge to the next: flights whose battery began where the flight before ended.
create or replace view analytics.battery_cycles as
with charged as (
    select f.client, f.vehicle, f.flight_id, f.started_before, f.duration_s, f.battery_used_mah,
        f.min_battery_v, began.battery_pct as start_pct, ended.battery_pct as end_pct
    from logbox.flights f
    join logbox.flight_logs m on m.flight_id = f.flight_id and m.is_track
    cross join lateral (
        select t.battery_pct
        from logbox.log_track t
        where t.log_id = m.log_id
            and t.second between m.first_second and m.last_second
            and t.battery_pct is not null
        order by t.second
        limit 1
    ) as began
    cross join lateral (
        select t.battery_pct
        from logbox.log_track t
        where t.log_id = m.log_id
            and t.second between m.first_second and m.last_second
            and t.battery_pct is not null
        order by t.second desc
        limit 1
    ) as ended
    where f.vehicle is not null
),
compared as (
    select *,
        start_pct > 5 + lag(end_pct) over (
            partition by client, vehicle order by started_before, flight_id
        ) as is_recharged
    from charged
),
numbered as (
    select *,
        1 + count(*) filter (where is_recharged) over (
            partition by client, vehicle order by started_before, flight_id
        ) as cycle_no
    from compared
)
select client, vehicle, cycle_no, min(started_before) as from_at,
    max(started_before + duration_s * interval '1 second') as to_at, count(*) as flights,
    sum(duration_s) as flight_s,
    (array_agg(start_pct order by started_before, flight_id))[1] as start_pct,
    (array_agg(end_pct order by started_before desc, flight_id desc))[1] as end_pct,
    sum(greatest(start_pct - end_pct, 0)) as used_pct, sum(battery_used_mah) as used_mah,
    min(min_battery_v) as min_battery_v
from numbered
group by 1, 2, 3;
comment on view analytics.battery_cycles is 'From one charge to the next: flights of a vehicle in a row, each beginning with no more than 5 percent over what the one before left. By vehicle, since few logs say which battery it carried; flights without a known charge are left out.';
comment on column analytics.battery_cycles.client is 'Whose drone';
comment on column analytics.battery_cycles.vehicle is 'The drone';
comment on column analytics.battery_cycles.cycle_no is 'Number of the cycle, from 1 for the oldest known';
comment on column analytics.battery_cycles.from_at is 'When its first flight began (UTC), or no later';
comment on column analytics.battery_cycles.to_at is 'When its last flight ended (UTC), or about';
comment on column analytics.battery_cycles.flights is 'Flights on that charge';
comment on column analytics.battery_cycles.flight_s is 'Their seconds in the air';
comment on column analytics.battery_cycles.start_pct is 'Charge at the first takeoff, in percent';
comment on column analytics.battery_cycles.end_pct is 'Charge at the last landing, in percent';
comment on column analytics.battery_cycles.used_pct is 'Charge used in the air, in percent; 100 make a full cycle';
comment on column analytics.battery_cycles.used_mah is 'The same in milliampere hours, where the current is known';
comment on column analytics.battery_cycles.min_battery_v is 'Lowest voltage in volts';
