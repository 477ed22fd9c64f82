"""Writes `formats/TRACK.md`, the mappings of every format as people read them. No test here.

python -m logbox_pipeline_tests.formats.track_page
"""

from pathlib import Path

from logbox_pipeline.core.track import TRACK_COLUMNS, TRACK_COMMENTS
from logbox_pipeline.steps.track import FORMATS

PAGE = Path(__file__).parents[2] / "logbox_pipeline" / "formats" / "TRACK.md"
TITLES = {
    "ulog": "PX4 ULog",
    "dataflash": "ArduPilot DataFlash",
    "mavlink": "MAVLink telemetry log",
    "dji_app": "DroneDeploy / DJI app",
}


def page() -> str:
    lines = [
        "# The track: one vocabulary over all autopilots",
        "",
        "One row per second of a log. Made from the mappings in `*_track.py` by",
        "`python -m logbox_pipeline_tests.formats.track_page`; a test keeps it true.",
        "",
        "| column | what it is |",
        "|---|---|",
        *(f"| `{name}` | {TRACK_COMMENTS[name]} |" for name in TRACK_COLUMNS.names),
    ]
    for name, known in FORMATS.items():
        lines += [
            "",
            f"## {TITLES[name]} (`{name}`)",
            "",
            "Where a column has several lines, the first that has a value counts.",
            "",
            "| column | topic | field | how | definition |",
            "|---|---|---|---|---|",
            *(
                f"| `{one.column}` | `{one.topic}` | `{one.field}` | {one.how.replace('|', '/')} "
                f"| [source]({one.source}) |"
                for one in known.mapping
            ),
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
