-- migrate:up
create index objects_not_replicated on logbox.objects (archived_at, archive_key)
    where archived_at is not null and replicated_at is null;
create index manifests_not_replicated on logbox.manifests (written_at, archive_key)
    where written_at is not null and replicated_at is null;

-- migrate:down
drop index logbox.manifests_not_replicated;
drop index logbox.objects_not_replicated;
