"""Compact as the coming night does: `python -m logbox_pipeline_tests.chaos.tomorrow`."""

from logbox_pipeline.settings import load_settings
from logbox_pipeline.steps.compact import compact
from logbox_pipeline.steps.settle import sweep_lake
from logbox_pipeline.steps.site import open_site
from logbox_pipeline_tests.run_compaction import a_day_on

if __name__ == "__main__":
    tomorrow = a_day_on(open_site(load_settings()))
    compact(tomorrow)
    # Its graces are none (ground.py), and the sensor of today does not see them end.
    while sweep_lake(tomorrow):
        pass
