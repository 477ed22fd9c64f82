-- Which telemetry there is: every table and column, as the source names it, with its unit.
select table_name, column_name, type, unit, format, topic, source_name
from logbox.telemetry_columns
order by table_name, position;
