-- The newest flights, whatever autopilot and however many logs saw each of them.
select client, vehicle, takeoff_at, duration_s, distance_m, max_alt_m, battery_used_pct,
    end_state, firmware
from logbox.flights
where started_before >= current_date - 30
order by started_before desc
limit 50;
