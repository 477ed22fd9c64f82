-- migrate:up
comment on column logbox.deliveries.state is 'received, waiting (for its sidecar, or to be read again), verified, archived, quarantined, duplicate, vanished, failed or erased; what became of its rows stands in logs.state';
comment on column logbox.deliveries.reason is 'Why it was refused or failed, in one word; unread while it waits because its bytes could not be had';
comment on column logbox.deliveries.waiting_until is 'When it stops waiting for a sidecar, or is read again (UTC)';

-- migrate:down
comment on column logbox.deliveries.state is 'received, waiting (for its sidecar), verified, archived, quarantined, duplicate, vanished, failed or erased; what became of its rows stands in logs.state';
comment on column logbox.deliveries.reason is 'Why it was refused or failed, in one word';
comment on column logbox.deliveries.waiting_until is 'When it stops waiting for a sidecar (UTC)';
