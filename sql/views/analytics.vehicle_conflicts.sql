-- Hardware and names that do not go together one to one.
create or replace view analytics.vehicle_conflicts as
with counted as (
    select *,
        count(*) over (partition by client, vehicle_uid) as names_of_uid,
        count(*) over (partition by client, vehicle) as uids_of_name
    from logbox.vehicle_aliases
)
select client, vehicle_uid, vehicle, names_of_uid, uids_of_name, first_seen_at, last_seen_at
from counted
where names_of_uid > 1 or uids_of_name > 1;
comment on view analytics.vehicle_conflicts is 'Hardware ids seen under several names, and names with several hardware ids: a board was swapped, a drone renamed, or a key used for the wrong drone.';
comment on column analytics.vehicle_conflicts.client is 'Whose drone';
comment on column analytics.vehicle_conflicts.vehicle_uid is 'The hardware id';
comment on column analytics.vehicle_conflicts.vehicle is 'The name it was seen under';
comment on column analytics.vehicle_conflicts.names_of_uid is 'Names this id was seen under';
comment on column analytics.vehicle_conflicts.uids_of_name is 'Ids this name was seen with';
comment on column analytics.vehicle_conflicts.first_seen_at is 'When the two were first seen together (UTC)';
comment on column analytics.vehicle_conflicts.last_seen_at is 'When they were last seen together (UTC)';
