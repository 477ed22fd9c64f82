"""The one partition: the day (UTC) a log was received."""

import dagster as dg

# Today included, since logs are ingested as they arrive. The first day is older than any log
# an existing bucket is likely to hold.
received_on = dg.DailyPartitionsDefinition(start_date="2015-01-01", timezone="UTC", end_offset=1)
