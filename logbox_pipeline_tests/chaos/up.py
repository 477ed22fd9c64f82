"""`logbox up` whose Dagster reaches the stores by way of the proxies.

python -m logbox_pipeline_tests.chaos.up DETOURS.json
"""

import json
import sys
from pathlib import Path

from logbox_pipeline.cli.stack import keep_up

if __name__ == "__main__":
    keep_up(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
