-- DuckDB: attitude and battery of the newest log on one clock, ten rows a second: each value is the
-- newest that was known then. The same as frames.aligned gives.
with attitude as (
    select *
    from read_parquet('s3://logbox-lake/lake/ulog_vehicle_attitude/**', union_by_name = true)
    where instance = 0
),
battery as (
    select *
    from read_parquet('s3://logbox-lake/lake/ulog_battery_status/**', union_by_name = true)
    where instance = 0
),
newest as (
    select log_id from attitude order by received_on desc, ts desc nulls last limit 1
),
ends as (
    select min(t_boot_us) as first_us, max(t_boot_us) as last_us
    from (
        select t_boot_us from attitude join newest using (log_id)
        union all
        select t_boot_us from battery join newest using (log_id)
    )
),
clock as (
    select unnest(generate_series(first_us, last_us, 100000)) as t_boot_us, log_id
    from ends, newest
)
select c.t_boot_us, a.q_0, a.q_1, a.q_2, a.q_3, b.voltage_v, b.current_a, b.remaining
from clock c
asof left join attitude a on a.log_id = c.log_id and a.t_boot_us <= c.t_boot_us
asof left join battery b on b.log_id = c.log_id and b.t_boot_us <= c.t_boot_us
order by c.t_boot_us;
