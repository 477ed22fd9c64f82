-- Who did what at the stores in the last seven days, and what was refused.
select day_on, who, vehicle, operation, requests, objects, refused,
    pg_size_pretty(bytes_in) as sent, pg_size_pretty(bytes_out) as got, first_at, last_at
from analytics.access_by_day
where day_on >= current_date - 7 and actor <> 'logbox'
order by day_on desc, who, operation;
