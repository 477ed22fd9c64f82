"""`logbox analyst add/list/revoke`: who may read."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import typer
from psycopg2.extensions import parse_dsn

from logbox_pipeline.adapters.postgres import connect
from logbox_pipeline.cli.clients import catalog_of, iam_of, public_endpoint
from logbox_pipeline.settings import Settings, load_settings, required
from logbox_pipeline.steps import clients

analyst_app = typer.Typer(no_args_is_help=True, help="Analysts: who may read tables and lake.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The analyst's name.")]


@analyst_app.command("add")
def add(name: Name) -> None:
    """Make a reader of Postgres and of the lake, and print both, once, as ready lines."""
    settings = load_settings()
    with _connections(settings) as (connection, admin):
        access = clients.add_analyst(
            connection,
            admin,
            iam_of(settings),
            analyst=name,
            lake_bucket=settings.lake_bucket,
            now=datetime.now(UTC),
        )
    sys.stdout.write(f"{psql_line(settings, access)}\n\n{duckdb_lines(settings, access)}\n")
    typer.echo("this is the only time the secrets are shown", err=True)


@analyst_app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False) -> None:
    """Every analyst; never a secret."""
    settings = load_settings()
    with catalog_of(settings) as connection:
        found = clients.list_analysts(connection)
    if as_json:
        rows = [
            {
                "analyst": one.analyst,
                "role": clients.analyst_role(one.analyst),
                "access_key_id": one.access_key_id,
                "created_at": one.created_at.astimezone(UTC).isoformat(),
                "revoked_at": one.revoked_at and one.revoked_at.astimezone(UTC).isoformat(),
            }
            for one in found
        ]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    if not found:
        typer.echo("there is no analyst yet: `logbox analyst add NAME`", err=True)
    for one in found:
        revoked = one.revoked_at
        gone = f"  revoked {revoked.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if revoked else ""
        sys.stdout.write(
            f"{one.analyst}  {clients.analyst_role(one.analyst)}  {one.access_key_id}  "
            f"since {one.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC{gone}\n"
        )


@analyst_app.command("revoke")
def revoke(name: Name) -> None:
    """Take login and lake key away, and end what is connected."""
    settings = load_settings()
    with _connections(settings) as (connection, admin):
        clients.revoke_analyst(
            connection, admin, iam_of(settings), analyst=name, now=datetime.now(UTC)
        )
    typer.echo(f"revoked: {clients.analyst_role(name)}", err=True)


def psql_line(settings: Settings, access: clients.AnalystAccess) -> str:
    """The database as the pipeline reaches it, with the analyst's login."""
    at = parse_dsn(required(settings.database_url, "LOGBOX_DATABASE_URL"))
    place = f"{at.get('host', 'localhost')}:{at.get('port', '5432')}/{quote(at['dbname'])}"
    tls = f"?sslmode={at['sslmode']}" if "sslmode" in at else ""
    return f"psql 'postgresql://{access.role}:{quote(access.password)}@{place}{tls}'"


def duckdb_lines(settings: Settings, access: clients.AnalystAccess) -> str:
    """A DuckDB secret that is used for the lake bucket only."""
    key = access.lake_key
    parts = {
        "type": "s3",
        "key_id": _text(key.access_key_id),
        "secret": _text(key.secret_access_key),
        "region": _text(settings.s3_region),
        "scope": _text(f"s3://{settings.lake_bucket}"),
    }
    endpoint = public_endpoint(settings)
    if endpoint:
        url = urlsplit(endpoint)
        parts |= {
            "endpoint": _text(url.netloc + url.path.rstrip("/")),
            "url_style": _text("path"),
            "use_ssl": "false" if url.scheme == "http" else "true",
        }
    inside = ",\n    ".join(f"{name} {value}" for name, value in parts.items())
    return f"create secret logbox (\n    {inside}\n);"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


@contextmanager
def _connections(settings: Settings) -> Iterator[tuple[Any, Any]]:
    """The catalog's connection and the administrator's."""
    admin_url = required(settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    with catalog_of(settings) as connection, closing(connect(admin_url)) as admin:
        yield connection, admin
