-- DuckDB: errors by vehicle, straight from the Parquet files.
select client, vehicle, source, count(*) as errors
from read_parquet('s3://logbox-lake/lake/log_events/**', union_by_name = true)
where level <= 3 and received_on >= current_date - 7
group by all
order by errors desc;
