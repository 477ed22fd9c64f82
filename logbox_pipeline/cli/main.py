"""`logbox ...`: puts the commands together and turns errors into one message and an exit code."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from logbox_pipeline.cli.access import access
from logbox_pipeline.cli.analysts import analyst_app
from logbox_pipeline.cli.bench import bench
from logbox_pipeline.cli.clients import client_app
from logbox_pipeline.cli.demo import demo
from logbox_pipeline.cli.drift import drift_app
from logbox_pipeline.cli.drill import drill
from logbox_pipeline.cli.inspect import inspect
from logbox_pipeline.cli.lake import lake_app
from logbox_pipeline.cli.migrate import migrate_app
from logbox_pipeline.cli.operate import pause, quarantine_app, resume, retry, status
from logbox_pipeline.cli.rebuild import rebuild
from logbox_pipeline.cli.reconcile import reconcile
from logbox_pipeline.cli.repair import repair
from logbox_pipeline.cli.reparse import reparse
from logbox_pipeline.cli.retain import retain
from logbox_pipeline.cli.seals import receipt_key, seal, verify_seals
from logbox_pipeline.cli.simulate import simulate
from logbox_pipeline.cli.stack import db, down, require_stack, setup, shell, up
from logbox_pipeline.cli.trace import get, trace
from logbox_pipeline.cli.upload import UploadCommand, upload
from logbox_pipeline.core.errors import LogboxError, SettingError, TransientError, UsageError

FOUND_WRONG, WRONG_USE = 1, 2


class _Commands(TyperGroup):
    """All commands; a LogboxError becomes its message on stderr, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LogboxError as failed:
            error = _cause(failed, ctx.invoked_subcommand)
            sys.stderr.write(f"logbox: {error}\n")
            ctx.exit(WRONG_USE if isinstance(error, UsageError) else FOUND_WRONG)
        except KeyboardInterrupt:
            ctx.exit(130)


_ASK_THE_STACK = frozenset(
    (
        "trace",
        "get",
        "access",
        "status",
        "retry",
        "pause",
        "resume",
        "migrate",
        "client",
        "analyst",
        "quarantine",
        "drift",
        "reconcile",
        "lake",
        "retain",
        "rebuild",
        "repair",
        "reparse",
        "drill",
        "seal",
        "simulate",
    )
)


def _cause(failed: LogboxError, command: str | None) -> LogboxError:
    """That the stack does not run explains all that does not answer, or is not set."""
    is_usage = isinstance(failed, UsageError) and not isinstance(failed, SettingError)
    if command in _ASK_THE_STACK and not is_usage:
        try:
            require_stack()
        except TransientError as why:
            return why
        except SettingError:
            return failed
    return failed


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Logbox: a drone fleet's logs, from the landing prefix to Postgres and Parquet.",
)

for command in (
    demo,
    up,
    down,
    setup,
    db,
    shell,
    inspect,
    trace,
    get,
    access,
    status,
    retry,
    pause,
    resume,
    retain,
    rebuild,
    repair,
    reparse,
    drill,
    reconcile,
    simulate,
    bench,
    seal,
    verify_seals,
    receipt_key,
):
    app.command()(command)
app.command(cls=UploadCommand)(upload)
app.add_typer(migrate_app, name="migrate")
app.add_typer(client_app, name="client")
app.add_typer(analyst_app, name="analyst")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(drift_app, name="drift")
app.add_typer(lake_app, name="lake")
