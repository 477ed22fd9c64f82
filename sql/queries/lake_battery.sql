-- DuckDB: the same answer as battery.sql, without Postgres.
select client, vehicle, log_id, min(voltage_v) as lowest_v, max(current_a) as highest_a,
    min(remaining) as lowest_remaining
from read_parquet('s3://logbox-lake/lake/ulog_battery_status/**', union_by_name = true)
where received_on >= current_date - 30
group by all
order by lowest_v;
