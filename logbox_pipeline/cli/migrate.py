"""`logbox migrate new/up/down/status`: plain SQL migrations."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from logbox_pipeline.cli.say import say
from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.settings import load_settings, required
from logbox_pipeline.steps import migrations
from logbox_pipeline.steps.setup import migrate

migrate_app = typer.Typer(no_args_is_help=True, help="Plain SQL migrations in sql/migrations.")


@migrate_app.command("new")
def new(name: Annotated[str, typer.Argument(metavar="NAME", help="create_x")]) -> None:
    """Make an empty migration."""
    sys.stdout.write(f"{migrations.new_migration(name, datetime.now(UTC))}\n")


@migrate_app.command("up")
def up() -> None:
    """Apply what is pending, and the grants."""
    settings = load_settings()
    migrate(_owner_url(), required(settings.database_url, "LOGBOX_DATABASE_URL"))
    say("migrated")


@migrate_app.command("down")
def down(
    is_sure: Annotated[
        bool, typer.Option("--yes", help="Also when rows of logs may go with it.")
    ] = False,
) -> None:
    """Roll the newest migration back, with the tables it made and the rows in them."""
    owner_url = _owner_url()
    logs = 0 if is_sure else migrations.loaded_logs(owner_url)
    if logs:
        raise UsageError(
            f"{logs:,} logs are loaded; what the newest migration made goes with all its rows, and "
            "applying it again does not bring them back",
            hint="`logbox migrate status` shows which it is; `logbox migrate down --yes` does it",
        )
    say(migrations.run_dbmate(owner_url, "rollback"))


@migrate_app.command("status")
def status() -> None:
    """List what is applied and what is pending."""
    sys.stdout.write(migrations.run_dbmate(_owner_url(), "status") + "\n")


def _owner_url() -> str:
    return required(load_settings().owner_database_url, "LOGBOX_OWNER_DATABASE_URL")
