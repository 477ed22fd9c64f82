-- DuckDB: the same while compaction is at work: each log's rows are taken from one file.
select client, vehicle, source, count(*) as errors
from (
    from read_parquet('s3://logbox-lake/lake/log_events/**', union_by_name = true, filename = true)
    qualify filename = max(filename) over (partition by log_id)
)
where level <= 3 and received_on >= current_date - 7
group by all
order by errors desc;
