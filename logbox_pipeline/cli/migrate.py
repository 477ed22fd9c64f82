"""`logbox migrate new/up/down/status`: plain SQL migrations."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from logbox_pipeline.cli.say import say
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
def down() -> None:
    """Roll the newest migration back."""
    say(migrations.run_dbmate(_owner_url(), "rollback"))


@migrate_app.command("status")
def status() -> None:
    """List what is applied and what is pending."""
    sys.stdout.write(migrations.run_dbmate(_owner_url(), "status") + "\n")


def _owner_url() -> str:
    return required(load_settings().owner_database_url, "LOGBOX_OWNER_DATABASE_URL")
