-- Topics and fields that came or went with a firmware.
create or replace view analytics.schema_changes_by_firmware as
with shapes as (
    -- One log for each set of fields: the sets are few, the logs are many.
    select distinct on (l.client, l.format, l.firmware, t.topic, t.fields_id)
        l.client, l.format, l.firmware, t.topic, t.log_id, t.instance
    from logbox.log_topics t
    join logbox.logs l using (log_id)
    where l.firmware is not null
    order by l.client, l.format, l.firmware, t.topic, t.fields_id
),
topics as (
    select distinct client, format, firmware, topic from shapes
),
columns as (
    select distinct s.client, s.format, s.firmware, s.topic, k.name
    from shapes s
    join logbox.log_topics t using (log_id, topic, instance)
    cross join lateral jsonb_object_keys(t.fields) as k (name)
),
firmwares as (
    select client, format, firmware, min(received_at) as first_seen_at,
        lag(firmware) over (
            partition by client, format order by min(received_at), firmware
        ) as previous_firmware
    from logbox.logs
    where firmware is not null and format is not null and state = 'loaded'
    group by 1, 2, 3
),
changes as (
    select f.*, n.topic, null::text as column_name, 'appeared' as change
    from firmwares f
    join topics n using (client, format, firmware)
    where not exists (
        select from topics o
        where (o.client, o.format, o.firmware, o.topic)
            = (f.client, f.format, f.previous_firmware, n.topic)
    )
    union all
    select f.*, o.topic, null, 'vanished'
    from firmwares f
    join topics o on (o.client, o.format, o.firmware) = (f.client, f.format, f.previous_firmware)
    where not exists (
        select from topics n
        where (n.client, n.format, n.firmware, n.topic) = (f.client, f.format, f.firmware, o.topic)
    )
    union all
    select f.*, n.topic, n.name, 'appeared'
    from firmwares f
    join columns n using (client, format, firmware)
    join topics o
        on (o.client, o.format, o.firmware, o.topic)
            = (f.client, f.format, f.previous_firmware, n.topic)
    where not exists (
        select from columns c
        where (c.client, c.format, c.firmware, c.topic, c.name)
            = (f.client, f.format, f.previous_firmware, n.topic, n.name)
    )
    union all
    select f.*, o.topic, o.name, 'vanished'
    from firmwares f
    join columns o on (o.client, o.format, o.firmware) = (f.client, f.format, f.previous_firmware)
    join topics n
        on (n.client, n.format, n.firmware, n.topic) = (f.client, f.format, f.firmware, o.topic)
    where not exists (
        select from columns c
        where (c.client, c.format, c.firmware, c.topic, c.name)
            = (f.client, f.format, f.firmware, o.topic, o.name)
    )
)
select client, format, firmware, previous_firmware, first_seen_at, topic, column_name, change
from changes
where previous_firmware is not null;
comment on view analytics.schema_changes_by_firmware is 'Topics and fields that appeared or vanished from one firmware to the next, in the order in which a client''s logs first had them. What a firmware never logged counts as gone, whatever the reason.';
comment on column analytics.schema_changes_by_firmware.client is 'Whose logs';
comment on column analytics.schema_changes_by_firmware.format is 'Log format';
comment on column analytics.schema_changes_by_firmware.firmware is 'The firmware';
comment on column analytics.schema_changes_by_firmware.previous_firmware is 'The one first seen before it';
comment on column analytics.schema_changes_by_firmware.first_seen_at is 'Arrival of the firmware''s first log (UTC)';
comment on column analytics.schema_changes_by_firmware.topic is 'Topic as the source names it';
comment on column analytics.schema_changes_by_firmware.column_name is 'Column (telemetry_columns.column_name); null when the whole topic came or went';
comment on column analytics.schema_changes_by_firmware.change is 'appeared or vanished';
