-- One row per flight and second, whatever autopilot flew it.
create or replace view logbox.flight_track as
select m.flight_id, f.client, f.vehicle, t.second - m.first_second as second,
    t.t_boot_us, t.ts, t.lat_deg, t.lon_deg, t.alt_m, t.alt_msl_m, t.speed_m_s, t.climb_m_s,
    t.heading_deg, t.roll_deg, t.pitch_deg, t.yaw_deg, t.battery_v, t.battery_a, t.battery_pct,
    t.satellites, t.mode, t.is_armed, t.is_airborne, t.log_id
from logbox.flight_logs m
join logbox.flights f using (flight_id)
join logbox.log_track t
    on t.log_id = m.log_id
    and t.second between m.first_second and m.last_second
where m.is_track;
comment on view logbox.flight_track is 'Every flight, once per second, from takeoff to its end, in one vocabulary for all autopilots; from the track of the log that stands for the flight (flight_logs.is_track).';
comment on column logbox.flight_track.flight_id is 'The flight (logbox.flights)';
comment on column logbox.flight_track.client is 'Whose flight';
comment on column logbox.flight_track.vehicle is 'The drone; null when no log says which';
comment on column logbox.flight_track.second is 'Whole seconds since takeoff, from 0';
comment on column logbox.flight_track.t_boot_us is 'Boot clock in microseconds of the newest sample in this second';
comment on column logbox.flight_track.ts is 'Time in UTC of the newest sample in this second; null where nobody knows';
comment on column logbox.flight_track.lat_deg is 'Latitude, WGS 84, in degrees, north positive';
comment on column logbox.flight_track.lon_deg is 'Longitude, WGS 84, in degrees, east positive';
comment on column logbox.flight_track.alt_m is 'Altitude in metres above home, or above where the log''s altitude began';
comment on column logbox.flight_track.alt_msl_m is 'Altitude in metres above mean sea level';
comment on column logbox.flight_track.speed_m_s is 'Speed over ground in metres per second';
comment on column logbox.flight_track.climb_m_s is 'Vertical speed in metres per second, up positive';
comment on column logbox.flight_track.heading_deg is 'Where the nose points: degrees from true north, clockwise, 0 to 360';
comment on column logbox.flight_track.roll_deg is 'Roll in degrees, right wing down positive, -180 to 180';
comment on column logbox.flight_track.pitch_deg is 'Pitch in degrees, nose up positive, -90 to 90';
comment on column logbox.flight_track.yaw_deg is 'Yaw in degrees from true north, clockwise, -180 to 180';
comment on column logbox.flight_track.battery_v is 'Voltage in volts of the first battery that reports one';
comment on column logbox.flight_track.battery_a is 'Current in amperes out of that battery, discharge positive';
comment on column logbox.flight_track.battery_pct is 'Charge left in that battery, in percent';
comment on column logbox.flight_track.satellites is 'Navigation satellites in use';
comment on column logbox.flight_track.mode is 'Flight mode as the autopilot names it';
comment on column logbox.flight_track.is_armed is 'Motors are armed';
comment on column logbox.flight_track.is_airborne is 'In the air, in the autopilot''s own judgement; null where it gives none';
comment on column logbox.flight_track.log_id is 'The log whose track this is';
