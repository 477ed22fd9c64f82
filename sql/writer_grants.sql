-- Run by `logbox setup` as logbox_writer: analysts may read every table the loader will make.
alter default privileges in schema telemetry grant select on tables to logbox_reader;
alter default privileges in schema analytics grant select on tables to logbox_reader;
alter default privileges in schema telemetry_parts grant select on tables to logbox_reader;
