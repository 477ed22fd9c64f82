"""Migrations: plain SQL files run by dbmate. Knows where they are and which are missing."""

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from logbox_pipeline.core.errors import LogboxError, SettingError, UsageError


def sql_folder() -> Path:
    """`sql/` of the checkout, or its copy inside an installed package."""
    package = Path(__file__).parents[1]
    beside = package.parent / "sql"
    return beside if (beside / "migrations").is_dir() else package / "sql"


def run_dbmate(database_url: str, command: Literal["up", "rollback", "status"]) -> str:
    """Run one dbmate command on a database. Returns what it printed.

    Raises LogboxError with dbmate's own words when it fails.
    """
    # The password travels in the child's environment: arguments are for all to see.
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("dbmate")),
            *("--env", "LOGBOX_DBMATE_URL", "--no-dump-schema", "--migration-lock"),
            *("--migrations-dir", str(sql_folder() / "migrations"), command),
        ],
        env={"LOGBOX_DBMATE_URL": _dbmate_url(database_url), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        cwd=sql_folder(),
    )
    said = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        raise LogboxError(
            f"dbmate {command} failed: {said}",
            hint="correct the migration, or LOGBOX_OWNER_DATABASE_URL if it cannot connect",
        )
    return said


def new_migration(name: str, now: datetime) -> Path:
    """Make an empty migration file named after the time and `name`."""
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise UsageError(
            f"{name!r} is no name for a migration", hint="use letters, digits and _: create_x"
        )
    path = sql_folder() / "migrations" / f"{now:%Y%m%d%H%M%S}_{name.lower()}.sql"
    path.write_text("-- migrate:up\n\n\n-- migrate:down\n\n")
    return path


def require_migrated(cursor: Any) -> None:
    """Raises SettingError when this code's migrations are not all applied."""
    wanted = {path.name.partition("_")[0] for path in (sql_folder() / "migrations").glob("*.sql")}
    cursor.execute("select to_regclass('public.schema_migrations') is not null")
    applied: set[str] = set()
    if cursor.fetchone()[0]:
        cursor.execute("select version from public.schema_migrations")
        applied = {version for (version,) in cursor.fetchall()}
    if missing := sorted(wanted - applied):
        raise SettingError(
            f"the database of LOGBOX_DATABASE_URL lacks {len(missing)} migration(s): "
            + ", ".join(missing),
            hint="run `logbox migrate up`, or `logbox setup` on a new database",
        )


def _dbmate_url(url: str) -> str:
    plain = url.replace("postgresql+psycopg2://", "postgres://").replace(
        "postgresql://", "postgres://"
    )
    is_local = "@127.0.0.1" in plain or "@localhost" in plain
    if "sslmode=" in plain or not is_local:
        return plain
    return plain + ("&" if "?" in plain else "?") + "sslmode=disable"
