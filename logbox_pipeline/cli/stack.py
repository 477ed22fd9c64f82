"""`logbox up/down/setup/db/shell`: the stack and ways into it."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from logbox_pipeline.cli.say import say
from logbox_pipeline.core.errors import SettingError, TransientError, UsageError
from logbox_pipeline.local.postgres import binary
from logbox_pipeline.local.site import running, set_up_embedded
from logbox_pipeline.local.stack import running_pid, stop_running
from logbox_pipeline.settings import home_folder, is_embedded, load_settings, required
from logbox_pipeline.steps.setup import set_up
from logbox_pipeline.steps.site import open_site


def up() -> None:
    """Run the embedded stack in the foreground until ctrl-c: Postgres, S3, Dagster."""
    require_embedded("up", hint="run Dagster against it with docker-compose.yml, or clear .env")
    keep_up()


def keep_up(detours: Mapping[str, str] | None = None) -> None:
    """Run the stack of the settings' home until told to end. `detours`: see `running`."""
    end_on_signals()
    try:
        with running(load_settings().home, say, detours=detours) as (stack, dagster):
            say("up; ctrl-c stops it, or `logbox down` from elsewhere")
            while True:
                stack.watch()
                dagster.watch()
                time.sleep(1)
    except KeyboardInterrupt:
        say("stopped")


def down() -> None:
    """Stop the embedded stack, from any terminal. Its data stays."""
    try:
        home = load_settings().home
    except SettingError:
        # What is wrong in .env must not keep it running.
        home = home_folder()
    say("stopped" if stop_running(home) else f"nothing runs in {home}")


def require_stack() -> None:
    """Raises TransientError when the embedded stack should serve and does not run."""
    home = load_settings().home
    if is_embedded() and running_pid(home) is None:
        there = "does not run" if (home / "stack.json").exists() else "is not there yet"
        raise TransientError(
            f"the stack of {home.absolute()} {there}",
            hint="start it with `logbox up` (make up), or call this in the folder it belongs to",
        )


def setup() -> None:
    """Make buckets, roles, databases and tables. Running it again is harmless."""
    settings = load_settings()
    if is_embedded():
        set_up_embedded(settings.home, say)
    else:
        set_up(open_site(settings), say)
    say("set up")


def db(
    as_owner: Annotated[
        bool, typer.Option("--owner", help="As logbox_owner, not the writer.")
    ] = False,
) -> None:
    """Open psql on the pipeline's database."""
    require_stack()
    settings = load_settings()
    url = (
        required(settings.owner_database_url, "LOGBOX_OWNER_DATABASE_URL")
        if as_owner
        else required(settings.database_url, "LOGBOX_DATABASE_URL")
    )
    psql = str(binary("psql")) if is_embedded() else shutil.which("psql") or str(binary("psql"))
    os.execv(psql, ["psql", url])  # noqa: S606 - hands the terminal over to psql


def shell() -> None:
    """Open a shell in which logbox, psql, aws and boto3 find the stack."""
    settings = load_settings()
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": settings.s3_access_key_id or "",
        "AWS_SECRET_ACCESS_KEY": settings.s3_secret_access_key or "",
        "AWS_DEFAULT_REGION": settings.s3_region,
        "AWS_ENDPOINT_URL_S3": settings.s3_endpoint or "",
        "DATABASE_URL": required(settings.database_url, "LOGBOX_DATABASE_URL"),
        "DAGSTER_HOME": str((settings.home / "dagster").absolute()),
        "LOGBOX_DAGSTER_DATABASE_URL": settings.dagster_database_url or "",
        **_psql_environment(required(settings.database_url, "LOGBOX_DATABASE_URL")),
        "PATH": os.pathsep.join(
            (str(Path(sys.executable).parent), str(binary("psql").parent), os.environ["PATH"])
        ),
    }
    say("a shell with the stack's environment; `exit` leaves it")
    program = os.environ.get("SHELL", "/bin/sh")
    os.execve(program, [program], {k: v for k, v in environment.items() if v})  # noqa: S606


def _psql_environment(url: str) -> dict[str, str]:
    """What psql and every other libpq program reads."""
    split = urlsplit(url)
    return {
        "PGHOST": split.hostname or "",
        "PGPORT": str(split.port or 5432),
        "PGUSER": unquote(split.username or ""),
        "PGPASSWORD": unquote(split.password or ""),
        "PGDATABASE": split.path.removeprefix("/"),
    }


def require_embedded(command: str, *, hint: str) -> None:
    """Raise UsageError when settings name a store or database that is not the embedded one."""
    if not is_embedded():
        raise UsageError(
            f"`logbox {command}` runs the embedded stack, but .env names a store or database",
            hint=hint,
        )


def end_on_signals() -> None:
    """End as ctrl-c does when told to, and when the terminal is closed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """A signal handler: SIGTERM ends a command as ctrl-c does."""
    if sys.is_finalizing():
        return
    raise KeyboardInterrupt
