-- migrate:up
-- Open drifts of one archived file: what its receipts may not claim, and what the replica is owed.
create index drifts_of_archived on logbox.drifts (subject)
    where resolved_at is null
        and place in ('archive', 'replica')
        and kind in ('missing', 'mismatch', 'unreadable');

-- A receipt says archived or replicated only while no drift denies it: to see such a drift first,
-- and to see it gone, owes the receipts of these bytes. Also in a rebuild: drifts are never
-- restored, but found.
create function logbox.owe_receipts_of_drifts() returns trigger language plpgsql as $$
declare
    subjects text[];
begin
    if tg_op = 'INSERT' then
        subjects := array(
            select subject
            from changed
            where place in ('archive', 'replica') and kind in ('missing', 'mismatch', 'unreadable')
        );
    else
        subjects := array(
            select c.subject
            from changed c
            join before b using (drift_id)
            where c.place in ('archive', 'replica')
                and c.kind in ('missing', 'mismatch', 'unreadable')
                and (c.resolved_at is null) <> (b.resolved_at is null)
        );
    end if;
    perform logbox.put_receipts(array(
        select d.delivery_id
        from unnest(subjects) as s (archive_key)
        join logbox.objects o using (archive_key)
        join logbox.deliveries d on d.sha256 = o.sha256 and d.client = o.client
        where d.state not in ('received', 'waiting', 'verified')
    ));
    return null;
end
$$;
comment on function logbox.owe_receipts_of_drifts is 'Statement trigger: receipts of bytes that are known to be lost, or to be there again.';

create trigger owe_receipts_inserted after insert on logbox.drifts
    referencing new table as changed
    for each statement execute function logbox.owe_receipts_of_drifts();
create trigger owe_receipts_updated after update on logbox.drifts
    referencing old table as before new table as changed
    for each statement execute function logbox.owe_receipts_of_drifts();

-- Until now receipts said so all the same.
select logbox.put_receipts(array(
    select d.delivery_id
    from logbox.drifts w
    join logbox.objects o on o.archive_key = w.subject
    join logbox.deliveries d on d.sha256 = o.sha256 and d.client = o.client
    where w.resolved_at is null
        and w.place in ('archive', 'replica')
        and w.kind in ('missing', 'mismatch', 'unreadable')
        and d.state not in ('received', 'waiting', 'verified')
));

-- migrate:down
drop trigger owe_receipts_updated on logbox.drifts;
drop trigger owe_receipts_inserted on logbox.drifts;
drop function logbox.owe_receipts_of_drifts;
drop index logbox.drifts_of_archived;
