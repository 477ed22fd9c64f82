"""The `logbox` command; says what to install when only the drone's part is there."""

import sys


def main() -> None:
    """Run `logbox`."""
    try:
        from logbox_pipeline.cli.main import app
    except ModuleNotFoundError as missing:
        sys.exit(
            f"logbox: {missing.name} is not installed: this is the drone's part alone\n"
            "  next: use `logbox-drone`, or install logbox-pipeline[pipeline]"
        )
    app()
