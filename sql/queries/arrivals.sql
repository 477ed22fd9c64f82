-- What arrived in the last seven days, and what became of it.
select d.received_on, d.client, d.state, l.state as log_state,
    coalesce(d.reason, l.reason) as reason, count(*) as files,
    pg_size_pretty(sum(d.size_bytes)) as size
from logbox.deliveries d
left join lateral (
    select distinct case when superseded_by is null then state else 'superseded' end as state,
        reason
    from logbox.logs
    where delivery_id = d.delivery_id
) l on true
where d.received_on >= current_date - 7
group by 1, 2, 3, 4, 5
order by 1 desc, 2, 3, 4, 5;
