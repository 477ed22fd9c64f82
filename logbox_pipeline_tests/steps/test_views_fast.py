"""Analysts' views on a fleet of some thousand logs: each answers in a moment."""

import time

from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests.journey import change, rows

LOGS, VEHICLES = 3_000, 30

FLEET = f"""
create temp table fleet as
select n, md5(n::text)::uuid as log_id, 'v' || n % {VEHICLES} as vehicle,
    '2026-11-01'::timestamptz + n / {VEHICLES} * interval '1 hour' as takeoff_at,
    'firmware ' || n / 500 as firmware
from generate_series(1, {LOGS}) as n;

insert into logbox.deliveries (
    delivery_id, bucket, landing_key, etag, received_at, client, vehicle, name, size_bytes,
    sensed_at
)
select log_id, 'b', log_id::text, 'e', takeoff_at + interval '1 hour', 'acme', vehicle, 'n', 1,
    now()
from fleet;

insert into logbox.logs (
    log_id, client, vehicle, content_sha256, delivery_id, received_at, received_on, size_bytes,
    state, format, loaded_at, telemetry_rows, time_source, firmware, recorded_from, recorded_to,
    vehicle_uid
)
select log_id, 'acme', vehicle, repeat(md5(n::text), 2), log_id, takeoff_at + interval '1 hour',
    (takeoff_at + interval '1 hour')::date, 1000, 'loaded', 'ulog', now(), 0, 'gps', firmware,
    takeoff_at, takeoff_at + interval '10 minutes', 'uid ' || vehicle
from fleet;

insert into logbox.flights (
    flight_id, client, vehicle, takeoff_at, landed_at, started_before, duration_s, end_state,
    time_source, firmware
)
select log_id, 'acme', vehicle, takeoff_at, takeoff_at + interval '10 minutes', takeoff_at, 600,
    'landed', 'gps', firmware
from fleet;

insert into logbox.flight_logs (
    log_id, flight_no, flight_id, is_track, timed_by, first_second, last_second,
    takeoff_t_boot_us, landed_t_boot_us, takeoff_at, landed_at, duration_s, end_state
)
select log_id, 1, log_id, true, 'utc', 0, 600, 0, 600000000, takeoff_at,
    takeoff_at + interval '10 minutes', 600, 'landed'
from fleet;

insert into logbox.log_track (log_id, second, ts, battery_pct)
select log_id, s, takeoff_at + s * interval '1 second', 100 - s / 10.0
from fleet, generate_series(0, 600, 5) as s;

insert into logbox.log_events (log_id, seq, ts, level, source, message)
select log_id, s, takeoff_at + s * interval '6 seconds', 3 + s % 5, 'commander', 'event ' || s
from fleet, generate_series(0, 99) as s;

insert into logbox.log_parameters (log_id, seq, name, kind, value, value_type)
select log_id, s, 'P_' || s, 'initial', case when s = n % 100 then n else s end, 'float'
from fleet, generate_series(0, 99) as s;

insert into logbox.log_topics (log_id, topic, instance, rows, table_name, fields, fields_id)
select log_id, 'topic_' || s, 0, 100, 'ulog_topic_' || s,
    jsonb_build_object(
        'x', jsonb_build_object('min', n, 'max', n + 1, 'mean', n + 0.5, 'nulls', 0),
        'y_' || n / 1000, jsonb_build_object('nulls', 0)
    ),
    md5('x y_' || n / 1000)::uuid
from fleet, generate_series(1, 20) as s;

insert into logbox.vehicle_aliases
select distinct 'acme', 'uid ' || vehicle, vehicle, now(), now() from fleet;
analyze logbox.logs, logbox.flights, logbox.flight_logs, logbox.log_track, logbox.log_events,
    logbox.log_parameters, logbox.log_topics;
"""

ONE_VEHICLE = "where client = 'acme' and vehicle = 'v7'"
ONE_FLIGHT = "where flight_id = md5('77')::uuid"

QUESTIONS = {
    "select count(*) from analytics.fleet_by_day": 1.0,
    "select count(*), sum(events) from analytics.errors_by_vehicle": 2.0,
    "select count(*) from analytics.vehicle_conflicts": 0.5,
    "select count(*), sum(used_pct) from analytics.battery_cycles": 1.5,
    f"select count(*) from analytics.battery_cycles {ONE_VEHICLE}": 0.5,
    f"select count(*) from analytics.parameter_changes {ONE_VEHICLE}": 0.5,
    "select count(*) from analytics.parameter_changes": 6.0,
    "select count(*) from analytics.schema_changes_by_firmware": 1.5,
    f"select count(*) from analytics.events_before_end {ONE_FLIGHT} and s_before_end < 30": 0.2,
    f"select count(*) from analytics.events_before_end {ONE_VEHICLE} and s_before_end < 30": 0.5,
    "select count(*) from analytics.events_before_end where s_before_end < 30 and level <= 3": 4.0,
    f"select count(*) from logbox.flight_track {ONE_FLIGHT}": 0.2,
    f"select count(*), min(battery_pct) from logbox.flight_track {ONE_VEHICLE}": 0.5,
}
"""Question -> the most seconds it may take on a busy machine: some five times what it needs."""


def test_every_view_answers_soon_on_thousands_of_logs(site: Site) -> None:
    change(site, FLEET)
    took = {}
    for question in QUESTIONS:
        started = time.monotonic()
        rows(site, question)
        took[question] = time.monotonic() - started
    slow = {question: s for question, s in took.items() if s > QUESTIONS[question]}
    assert slow == {}, took
