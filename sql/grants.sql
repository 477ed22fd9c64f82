-- What each role may do in one database. Run by `logbox setup` as logbox_owner after every
-- migration; again is harmless. The roles themselves belong to the cluster.
revoke create on schema public from public;

grant usage on schema logbox, telemetry, telemetry_parts, analytics to logbox_reader, logbox_writer;
grant select on all tables in schema logbox to logbox_reader;
grant select, insert, update, delete on all tables in schema logbox to logbox_writer;

-- The loader makes telemetry's tables and their views, so it owns them.
grant create on schema telemetry, telemetry_parts, analytics to logbox_writer;

-- Setup looks here before it starts work.
grant select on table public.schema_migrations to logbox_writer;

alter default privileges in schema logbox
    grant select on tables to logbox_reader;
alter default privileges in schema logbox
    grant select, insert, update, delete on tables to logbox_writer;
alter default privileges in schema analytics
    grant select on tables to logbox_reader, logbox_writer;
