"""Bring the embedded stack up as a whole: servers, setup, Dagster."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.local.dagster import DagsterProcesses
from logbox_pipeline.local.postgres import new_password
from logbox_pipeline.local.processes import read_json, write_private
from logbox_pipeline.local.stack import EmbeddedStack, running_pid
from logbox_pipeline.settings import (
    Settings,
    is_replica_embedded,
    load_settings,
    stack_environment,
)
from logbox_pipeline.steps.setup import OWNER, WRITER, set_up
from logbox_pipeline.steps.site import open_site

DEV, TEST, DAGSTER = "logbox_dev", "logbox_test", "logbox_dagster"


def set_up_embedded(home: Path, say: Callable[[str], None]) -> None:
    """Make everything inside the embedded stack of a home, started for it if it does not run."""
    if running_pid(home) is not None:
        _set_up_running(home, say)
        return
    with EmbeddedStack(home, has_replica=is_replica_embedded()) as stack:
        _write_databases(stack)
        _set_up_running(home, say)


@contextmanager
def running(
    home: Path, say: Callable[[str], None], *, detours: Mapping[str, str] | None = None
) -> Iterator[tuple[EmbeddedStack, DagsterProcesses]]:
    """The embedded stack with Dagster, set up and running until the block ends.

    `detours` are settings of Dagster's processes alone: what leads them to a store or database by
    way of something that tests them.
    """
    with EmbeddedStack(home, has_replica=is_replica_embedded()) as stack:
        say(f"PostgreSQL and S3 run in {home}")
        _write_databases(stack)
        settings = _set_up_running(home, say)
        # Setup takes the administrator's rights; nothing that runs for long has them.
        environment = {
            name: value
            for name, value in stack_environment(home).items()
            if name not in ("LOGBOX_ADMIN_DATABASE_URL", "LOGBOX_OWNER_DATABASE_URL")
        } | {"LOGBOX_HOME": str(home.absolute()), **(detours or {})}
        with DagsterProcesses(home, environment, settings.web_port) as dagster:
            say(f"Dagster's UI is at {dagster.url}")
            yield stack, dagster


def _set_up_running(home: Path, say: Callable[[str], None]) -> Settings:
    settings = load_settings()
    if settings.home.absolute() != home.absolute():
        raise UsageError(f"settings are of {settings.home}, the stack of {home}")
    set_up(open_site(settings), say)
    return settings


def _write_databases(stack: EmbeddedStack) -> None:
    """Write setup.env: URLs of our own databases, passwords made once."""
    path = stack.home / "secrets.json"
    known = read_json(path)
    secrets = {"owner_password": new_password(), "writer_password": new_password()} | known
    if secrets != known:
        write_private(path, json.dumps(secrets, indent=1) + "\n")
    server = stack.environment()["LOGBOX_ADMIN_DATABASE_URL"].rpartition("@")[2].partition("/")[0]

    def url(user: str, database: str, scheme: str = "postgresql") -> str:
        password = secrets["owner_password" if user == OWNER else "writer_password"]
        return f"{scheme}://{user}:{quote(password, safe='')}@{server}/{database}"

    # Dagster sets no limits of its own: one connection that nobody answers would stop its queue.
    patience = "connect_timeout=10&keepalives_idle=30&keepalives_interval=10&keepalives_count=3"

    lines = {
        "LOGBOX_DATABASE_URL": url(WRITER, DEV),
        "LOGBOX_OWNER_DATABASE_URL": url(OWNER, DEV),
        "LOGBOX_TEST_DATABASE_URL": url(OWNER, TEST),
        "LOGBOX_DAGSTER_DATABASE_URL": f"{url(OWNER, DAGSTER, 'postgresql+psycopg2')}?{patience}",
    }
    write_private(
        stack.home / "setup.env", "".join(f"{name}={value}\n" for name, value in lines.items())
    )
