-- migrate:up
-- All deliveries of the same bytes: without statistics, as after a rebuild, by client was thought good.
drop index logbox.deliveries_sha256_idx;
create index on logbox.deliveries (sha256, client);

-- What a receipt says of a delivery depends on its own row, on its object, on what that object holds
-- and on those logs. Each of these four owes it (subject receipt, id: the delivery) when a value
-- changes that the receipt tells. Deliveries of which there is nothing to tell yet are left out.
create function logbox.put_receipts(deliveries uuid[]) returns void language sql as $$
    -- In one order: two loads that share bytes must not wait for each other in a ring.
    insert into logbox.outbox as o (subject, id, changed_at)
    select 'receipt', id::text, clock_timestamp()
    from (select distinct unnest(deliveries) as id) as owed
    order by 2
    on conflict (subject, id) do update
    set revision = default, changed_at = excluded.changed_at
$$;
comment on function logbox.put_receipts is 'Puts the receipts of deliveries into logbox.outbox.';

create function logbox.owe_receipts_of_deliveries() returns trigger language plpgsql as $$
begin
    if not logbox.owes() then
        return null;
    end if;
    if tg_op = 'INSERT' then
        perform logbox.put_receipts(array(
            select delivery_id from changed where state not in ('received', 'waiting', 'verified')
        ));
    else
        perform logbox.put_receipts(array(
            select c.delivery_id
            from changed c
            join before b using (delivery_id)
            where c.state not in ('received', 'waiting', 'verified')
                and (c.state, c.reason, c.detail, c.client, c.vehicle, c.landing_key, c.size_bytes,
                    c.sha256, c.declared_sha256, c.duplicate_of, c.archived_at)
                is distinct from (b.state, b.reason, b.detail, b.client, b.vehicle, b.landing_key,
                    b.size_bytes, b.sha256, b.declared_sha256, b.duplicate_of, b.archived_at)
        ));
    end if;
    return null;
end
$$;
comment on function logbox.owe_receipts_of_deliveries is 'Statement trigger: receipts of deliveries that changed.';

create function logbox.owe_receipts_of_objects() returns trigger language plpgsql as $$
begin
    if not logbox.owes() then
        return null;
    end if;
    perform logbox.put_receipts(array(
        select d.delivery_id
        from changed c
        join before b using (client, sha256)
        join logbox.deliveries d on d.sha256 = c.sha256 and d.client = c.client
        where (c.archived_at, c.replicated_at) is distinct from (b.archived_at, b.replicated_at)
            and d.state not in ('received', 'waiting', 'verified')
    ));
    return null;
end
$$;
comment on function logbox.owe_receipts_of_objects is 'Statement trigger: receipts of bytes that are archived or replicated now.';

create function logbox.owe_receipts_of_object_logs() returns trigger language plpgsql as $$
begin
    if not logbox.owes() then
        return null;
    end if;
    perform logbox.put_receipts(array(
        select d.delivery_id
        from (select distinct client, sha256 from changed) as c
        join logbox.deliveries d on d.sha256 = c.sha256 and d.client = c.client
        where d.state not in ('received', 'waiting', 'verified')
    ));
    return null;
end
$$;
comment on function logbox.owe_receipts_of_object_logs is 'Statement trigger: receipts of bytes in which something else was found.';

create function logbox.owe_receipts_of_logs() returns trigger language plpgsql as $$
begin
    if not logbox.owes() then
        return null;
    end if;
    perform logbox.put_receipts(array(
        with recursive told as (
            select c.log_id
            from changed c
            join before b using (log_id)
            where (c.state, c.reason, c.format, c.telemetry_rows, c.events, c.parameters,
                    c.is_damaged, c.damaged_bytes, c.superseded_by, c.loaded_at)
                is distinct from (b.state, b.reason, b.format, b.telemetry_rows, b.events,
                    b.parameters, b.is_damaged, b.damaged_bytes, b.superseded_by, b.loaded_at)
            union
            -- A superseded log is loaded since the one that has its rows is.
            select l.log_id
            from logbox.logs l
            join told on told.log_id = l.superseded_by
        )
        select d.delivery_id
        from told
        join logbox.object_logs o using (log_id)
        join logbox.deliveries d on d.sha256 = o.sha256 and d.client = o.client
        where d.state not in ('received', 'waiting', 'verified')
    ));
    return null;
end
$$;
comment on function logbox.owe_receipts_of_logs is 'Statement trigger: receipts of all bytes that hold a log that changed.';

create trigger owe_receipts_inserted after insert on logbox.deliveries
    referencing new table as changed
    for each statement execute function logbox.owe_receipts_of_deliveries();
create trigger owe_receipts_updated after update on logbox.deliveries
    referencing old table as before new table as changed
    for each statement execute function logbox.owe_receipts_of_deliveries();
create trigger owe_receipts_updated after update on logbox.objects
    referencing old table as before new table as changed
    for each statement execute function logbox.owe_receipts_of_objects();
create trigger owe_receipts_inserted after insert on logbox.object_logs
    referencing new table as changed
    for each statement execute function logbox.owe_receipts_of_object_logs();
create trigger owe_receipts_updated after update on logbox.object_logs
    referencing new table as changed
    for each statement execute function logbox.owe_receipts_of_object_logs();
create trigger owe_receipts_deleted after delete on logbox.object_logs
    referencing old table as changed
    for each statement execute function logbox.owe_receipts_of_object_logs();
create trigger owe_receipts_updated after update on logbox.logs
    referencing old table as before new table as changed
    for each statement execute function logbox.owe_receipts_of_logs();

comment on column logbox.outbox.id is 'delivery_id, log_id, client/sha256, lake_key or table_name; of a receipt delivery_id, with /name behind it when only the one by name is owed';

-- Until now there were no receipts.
select logbox.put_receipts(array(
    select delivery_id from logbox.deliveries where state not in ('received', 'waiting', 'verified')
));

-- migrate:down
drop trigger owe_receipts_updated on logbox.logs;
drop trigger owe_receipts_deleted on logbox.object_logs;
drop trigger owe_receipts_updated on logbox.object_logs;
drop trigger owe_receipts_inserted on logbox.object_logs;
drop trigger owe_receipts_updated on logbox.objects;
drop trigger owe_receipts_updated on logbox.deliveries;
drop trigger owe_receipts_inserted on logbox.deliveries;
drop function logbox.owe_receipts_of_logs;
drop function logbox.owe_receipts_of_object_logs;
drop function logbox.owe_receipts_of_objects;
drop function logbox.owe_receipts_of_deliveries;
drop function logbox.put_receipts;
drop index logbox.deliveries_sha256_client_idx;
create index on logbox.deliveries (sha256);
delete from logbox.outbox where subject = 'receipt';
comment on column logbox.outbox.id is 'delivery_id, log_id, client/sha256, lake_key or table_name';
