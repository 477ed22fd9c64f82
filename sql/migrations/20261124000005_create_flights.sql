-- migrate:up
alter table logbox.logs
    add column autopilot text,
    add column airframe text,
    add column track_rows bigint;
comment on column logbox.logs.autopilot is 'Autopilot family: PX4, ArduPilot, DJI';
comment on column logbox.logs.airframe is 'Kind of vehicle: quadrotor, plane, rover';
comment on column logbox.logs.track_rows is 'Rows in log_track';

-- Which logs were written while a flight was in the air.
create index logs_recorded on logbox.logs
    using gist (
        tstzrange(least(recorded_from, recorded_to), greatest(recorded_from, recorded_to), '[]')
    )
    where recorded_from is not null and recorded_to is not null;

create table logbox.log_track (
    log_id uuid not null,
    second bigint not null,
    t_boot_us bigint,
    ts timestamptz,
    lat_deg double precision,
    lon_deg double precision,
    alt_m real,
    alt_msl_m real,
    speed_m_s real,
    climb_m_s real,
    heading_deg real,
    roll_deg real,
    pitch_deg real,
    yaw_deg real,
    battery_v real,
    battery_a real,
    battery_pct real,
    satellites smallint,
    mode text,
    is_armed boolean,
    is_airborne boolean,
    primary key (log_id, second)
);
comment on table logbox.log_track is 'Every log that says where its vehicle was, once per second, in one vocabulary for all autopilots; logbox.flight_track has the part in the air. log_id stands in logs; the loader sees to it in the same transaction.';
comment on column logbox.log_track.log_id is 'The log';
comment on column logbox.log_track.second is 'Whole seconds of the log''s clock since the second of its first sample; segments of a clock that steps back are laid end to end';
comment on column logbox.log_track.t_boot_us is 'Boot clock in microseconds of the newest sample in this second';
comment on column logbox.log_track.ts is 'Time in UTC of the newest sample in this second; null where nobody knows';
comment on column logbox.log_track.lat_deg is 'Latitude, WGS 84, in degrees, north positive';
comment on column logbox.log_track.lon_deg is 'Longitude, WGS 84, in degrees, east positive';
comment on column logbox.log_track.alt_m is 'Altitude in metres above home, or above where the log''s altitude began';
comment on column logbox.log_track.alt_msl_m is 'Altitude in metres above mean sea level';
comment on column logbox.log_track.speed_m_s is 'Speed over ground in metres per second';
comment on column logbox.log_track.climb_m_s is 'Vertical speed in metres per second, up positive';
comment on column logbox.log_track.heading_deg is 'Where the nose points: degrees from true north, clockwise, 0 to 360';
comment on column logbox.log_track.roll_deg is 'Roll in degrees, right wing down positive, -180 to 180';
comment on column logbox.log_track.pitch_deg is 'Pitch in degrees, nose up positive, -90 to 90';
comment on column logbox.log_track.yaw_deg is 'Yaw in degrees from true north, clockwise, -180 to 180';
comment on column logbox.log_track.battery_v is 'Voltage in volts of the first battery that reports one';
comment on column logbox.log_track.battery_a is 'Current in amperes out of that battery, discharge positive';
comment on column logbox.log_track.battery_pct is 'Charge left in that battery, in percent';
comment on column logbox.log_track.satellites is 'Navigation satellites in use';
comment on column logbox.log_track.mode is 'Flight mode as the autopilot names it';
comment on column logbox.log_track.is_armed is 'Motors are armed';
comment on column logbox.log_track.is_airborne is 'In the air, in the autopilot''s own judgement; null where it gives none';

create table logbox.flights (
    flight_id uuid primary key,
    client text not null references logbox.clients,
    vehicle text,
    takeoff_at timestamptz,
    landed_at timestamptz,
    started_before timestamptz not null,
    duration_s double precision not null,
    distance_m double precision,
    max_alt_m double precision,
    max_speed_m_s double precision,
    start_lat_deg double precision,
    start_lon_deg double precision,
    end_lat_deg double precision,
    end_lon_deg double precision,
    min_lat_deg double precision,
    min_lon_deg double precision,
    max_lat_deg double precision,
    max_lon_deg double precision,
    battery_used_pct double precision,
    battery_used_mah double precision,
    min_battery_v double precision,
    end_state text not null
        check (end_state in ('landed', 'disarmed', 'rebooted', 'lost', 'log_ended')),
    firmware text,
    autopilot text,
    airframe text,
    time_source text not null check (time_source in ('gps', 'rtc', 'gcs', 'log', 'none')),
    time_error_ms bigint
);
create index on logbox.flights (client, vehicle, started_before);
create index on logbox.flights (started_before);
comment on table logbox.flights is 'One row per real flight, whatever number of logs saw it; which ones stands in flight_logs. Numbers are those of the log on board when there is one, else of the longest.';
comment on column logbox.flights.flight_id is 'Derived from the client and its earliest log and flight there';
comment on column logbox.flights.client is 'Whose flight';
comment on column logbox.flights.vehicle is 'The drone; null when no log says which';
comment on column logbox.flights.takeoff_at is 'Takeoff (UTC); null without a trusted clock';
comment on column logbox.flights.landed_at is 'Landing, or the last that is known of it (UTC); null without a trusted clock';
comment on column logbox.flights.started_before is 'Upper bound of takeoff (UTC): takeoff_at, or the arrival of the log';
comment on column logbox.flights.duration_s is 'From takeoff to end, in seconds';
comment on column logbox.flights.distance_m is 'Length of the way over ground in metres';
comment on column logbox.flights.max_alt_m is 'Greatest altitude above home in metres';
comment on column logbox.flights.max_speed_m_s is 'Greatest speed over ground in metres per second';
comment on column logbox.flights.start_lat_deg is 'Latitude of the first position in degrees';
comment on column logbox.flights.start_lon_deg is 'Longitude of the first position in degrees';
comment on column logbox.flights.end_lat_deg is 'Latitude of the last position in degrees';
comment on column logbox.flights.end_lon_deg is 'Longitude of the last position in degrees';
comment on column logbox.flights.min_lat_deg is 'Southern edge of the box around all positions, in degrees';
comment on column logbox.flights.min_lon_deg is 'Western edge of the box around all positions, in degrees';
comment on column logbox.flights.max_lat_deg is 'Northern edge of the box around all positions, in degrees';
comment on column logbox.flights.max_lon_deg is 'Eastern edge of the box around all positions, in degrees';
comment on column logbox.flights.battery_used_pct is 'Charge used, in percent of the battery';
comment on column logbox.flights.battery_used_mah is 'Charge used, in milliampere hours';
comment on column logbox.flights.min_battery_v is 'Lowest battery voltage in volts';
comment on column logbox.flights.end_state is 'landed; disarmed before a landing was seen; rebooted; lost: nothing more was heard; log_ended: the log ends in the air';
comment on column logbox.flights.firmware is 'Firmware version';
comment on column logbox.flights.autopilot is 'Autopilot family: PX4, ArduPilot, DJI';
comment on column logbox.flights.airframe is 'Kind of vehicle: quadrotor, plane, rover';
comment on column logbox.flights.time_source is 'Where takeoff_at comes from; none: nobody knows the time';
comment on column logbox.flights.time_error_ms is 'Spread of that source in milliseconds';

create table logbox.flight_logs (
    log_id uuid not null references logbox.logs,
    flight_no integer not null check (flight_no > 0),
    flight_id uuid not null references logbox.flights,
    is_track boolean not null,
    timed_by text check (timed_by in ('utc', 'boot_clock')),
    first_second bigint not null,
    last_second bigint not null check (last_second >= first_second),
    takeoff_t_boot_us bigint,
    landed_t_boot_us bigint,
    takeoff_at timestamptz,
    landed_at timestamptz,
    duration_s double precision not null,
    distance_m double precision,
    max_alt_m double precision,
    max_speed_m_s double precision,
    start_lat_deg double precision,
    start_lon_deg double precision,
    end_lat_deg double precision,
    end_lon_deg double precision,
    min_lat_deg double precision,
    min_lon_deg double precision,
    max_lat_deg double precision,
    max_lon_deg double precision,
    battery_used_pct double precision,
    battery_used_mah double precision,
    min_battery_v double precision,
    end_state text not null
        check (end_state in ('landed', 'disarmed', 'rebooted', 'lost', 'log_ended')),
    primary key (log_id, flight_no)
);
create index on logbox.flight_logs (flight_id);
create unique index flight_logs_track on logbox.flight_logs (flight_id) where is_track;
-- Who else was in the air then: a vehicle's flights before and after are not looked at.
create index flight_logs_span on logbox.flight_logs
    using gist (tstzrange(least(takeoff_at, landed_at), greatest(takeoff_at, landed_at), '[]'))
    where takeoff_at is not null and landed_at is not null;
comment on table logbox.flight_logs is 'Which log saw which flight, and what it saw of it.';
comment on column logbox.flight_logs.log_id is 'The log';
comment on column logbox.flight_logs.flight_no is 'Number of the flight in that log, from 1';
comment on column logbox.flight_logs.flight_id is 'The flight';
comment on column logbox.flight_logs.is_track is 'This log''s track stands for the flight in flight_track: one of its logs';
comment on column logbox.flight_logs.timed_by is 'By which clock rows of this log belong to this flight: between takeoff_at and landed_at (utc), or the same in t_boot_us (boot_clock); null when neither tells the log''s flights apart';
comment on column logbox.flight_logs.first_second is 'log_track.second of takeoff';
comment on column logbox.flight_logs.last_second is 'log_track.second of the end';
comment on column logbox.flight_logs.takeoff_t_boot_us is 'Boot clock of takeoff in microseconds';
comment on column logbox.flight_logs.landed_t_boot_us is 'Boot clock of the end in microseconds';
comment on column logbox.flight_logs.takeoff_at is 'Takeoff by the clock of this log (UTC)';
comment on column logbox.flight_logs.landed_at is 'End by the clock of this log (UTC)';
comment on column logbox.flight_logs.duration_s is 'From takeoff to end, in seconds';
comment on column logbox.flight_logs.distance_m is 'Length of the way over ground in metres';
comment on column logbox.flight_logs.max_alt_m is 'Greatest altitude above home in metres';
comment on column logbox.flight_logs.max_speed_m_s is 'Greatest speed over ground in metres per second';
comment on column logbox.flight_logs.start_lat_deg is 'Latitude of the first position in degrees';
comment on column logbox.flight_logs.start_lon_deg is 'Longitude of the first position in degrees';
comment on column logbox.flight_logs.end_lat_deg is 'Latitude of the last position in degrees';
comment on column logbox.flight_logs.end_lon_deg is 'Longitude of the last position in degrees';
comment on column logbox.flight_logs.min_lat_deg is 'Southern edge of the box around all positions, in degrees';
comment on column logbox.flight_logs.min_lon_deg is 'Western edge of the box around all positions, in degrees';
comment on column logbox.flight_logs.max_lat_deg is 'Northern edge of the box around all positions, in degrees';
comment on column logbox.flight_logs.max_lon_deg is 'Eastern edge of the box around all positions, in degrees';
comment on column logbox.flight_logs.battery_used_pct is 'Charge used, in percent of the battery';
comment on column logbox.flight_logs.battery_used_mah is 'Charge used, in milliampere hours';
comment on column logbox.flight_logs.min_battery_v is 'Lowest battery voltage in volts';
comment on column logbox.flight_logs.end_state is 'landed; disarmed before a landing was seen; rebooted; lost: nothing more was heard; log_ended: the log ends in the air';

-- migrate:down
drop table logbox.flight_logs;
drop table logbox.flights;
drop table logbox.log_track;
drop index logbox.logs_recorded;
alter table logbox.logs
    drop column track_rows,
    drop column airframe,
    drop column autopilot;
