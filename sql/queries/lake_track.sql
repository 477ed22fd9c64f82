-- DuckDB: where each log's vehicle went, once per second for every autopilot, from Parquet.
select client, vehicle, log_id, count(*) as seconds, max(alt_m) as max_alt_m,
    max(speed_m_s) as max_speed_m_s, min(battery_pct) as lowest_battery_pct
from read_parquet('s3://logbox-lake/lake/log_track/**', union_by_name = true)
where received_on >= current_date - 30
group by all
order by max_alt_m desc;
