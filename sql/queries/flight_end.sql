-- What was said in the last half minute of each flight, by any log of the vehicle.
select client, vehicle, flight_id, s_before_end, level_name, source, message
from analytics.events_before_end
where s_before_end <= 30
order by client, vehicle, flight_id, s_before_end
limit 200;
