-- Which parameters a vehicle took off with that differ from the flight before.
create or replace view analytics.parameter_changes as
with flown as (
    select distinct on (f.client, f.vehicle, p.name, f.flight_id)
        f.client, f.vehicle, p.name, f.flight_id, f.started_before, f.firmware, p.value
    from logbox.flights f
    join logbox.flight_logs m using (flight_id)
    join logbox.log_parameters p
        on p.log_id = m.log_id
        and p.kind in ('initial', 'changed')
        and (p.t_boot_us is null or p.t_boot_us <= coalesce(m.takeoff_t_boot_us, p.t_boot_us))
    where f.vehicle is not null
    order by f.client, f.vehicle, p.name, f.flight_id, m.is_track desc, m.log_id,
        p.t_boot_us desc nulls last, p.seq desc
),
compared as (
    select *,
        lag(value) over before as previous_value,
        lag(flight_id) over before as previous_flight_id,
        lag(firmware) over before as previous_firmware
    from flown
    window before as (partition by client, vehicle, name order by started_before, flight_id)
)
select client, vehicle, name, flight_id, started_before, previous_flight_id, previous_value, value,
    firmware, previous_firmware
from compared
where previous_flight_id is not null and value is distinct from previous_value;
comment on view analytics.parameter_changes is 'Parameters that a vehicle took off with and that differ from the last flight before which had them. Ask for one client and vehicle: the others are not read then.';
comment on column analytics.parameter_changes.client is 'Whose drone';
comment on column analytics.parameter_changes.vehicle is 'The drone';
comment on column analytics.parameter_changes.name is 'The parameter, as the source names it';
comment on column analytics.parameter_changes.flight_id is 'The flight that took off with the new value';
comment on column analytics.parameter_changes.started_before is 'When it began (UTC), or no later';
comment on column analytics.parameter_changes.previous_flight_id is 'The last flight before that had the parameter';
comment on column analytics.parameter_changes.previous_value is 'Its value then';
comment on column analytics.parameter_changes.value is 'Its value now';
comment on column analytics.parameter_changes.firmware is 'Firmware of the flight';
comment on column analytics.parameter_changes.previous_firmware is 'Firmware of the flight before';
