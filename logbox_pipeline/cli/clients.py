"""`logbox client add/list/rotate/revoke`: who may upload."""

import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from logbox_pipeline.adapters.iam import AccessKey, Iam
from logbox_pipeline.adapters.postgres import connect
from logbox_pipeline.cli.seals import receipt_keys
from logbox_pipeline.core.errors import SettingError
from logbox_pipeline.settings import Settings, load_settings, required
from logbox_pipeline.steps import clients

client_app = typer.Typer(no_args_is_help=True, help="Clients: who may upload, and their keys.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The client's name.")]
Vehicle = Annotated[
    str | None, typer.Option("--vehicle", help="Only this vehicle's folder: one key per drone.")
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@client_app.command("add")
def add(name: Name, vehicle: Vehicle = None) -> None:
    """Make a client and print its key, once, as .env lines for the drone."""
    settings = load_settings()
    with catalog_of(settings) as connection:
        key = clients.add_client(
            connection,
            iam_of(settings),
            client=name,
            vehicle=vehicle,
            landing_bucket=settings.landing_bucket,
            now=datetime.now(UTC),
        )
    _print_key(settings, name, vehicle, key)


@client_app.command("list")
def list_(as_json: Json = False) -> None:
    """Every client and its keys; never a secret."""
    settings = load_settings()
    with catalog_of(settings) as connection:
        found = clients.list_clients(connection)
    if as_json:
        sys.stdout.write(json.dumps([_client_json(client) for client in found], indent=2) + "\n")
        return
    if not found:
        _say("there is no client yet: `logbox client add NAME`")
    for client in found:
        state = "" if client.revoked_at is None else f"  revoked {_time(client.revoked_at)}"
        sys.stdout.write(f"{client.client}  since {_time(client.created_at)}{state}\n")
        for key in client.keys:
            gone = "" if key.revoked_at is None else f"  revoked {_time(key.revoked_at)}"
            scope = "whole client" if key.vehicle is None else f"vehicle {key.vehicle}"
            sys.stdout.write(
                f"  {key.access_key_id}  {scope}  since {_time(key.created_at)}{gone}\n"
            )


@client_app.command("rotate")
def rotate(
    name: Name,
    vehicle: Vehicle = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="Take the old key away; the new one is in use.")
    ] = False,
) -> None:
    """Print a second key; both work until --finish."""
    settings = load_settings()
    with catalog_of(settings) as connection:
        iam, now = iam_of(settings), datetime.now(UTC)
        if finish:
            old = clients.finish_rotation(connection, iam, client=name, vehicle=vehicle, now=now)
            _say(f"the key {old} does not work any more")
            return
        key = clients.rotate_client(
            connection,
            iam,
            client=name,
            vehicle=vehicle,
            landing_bucket=settings.landing_bucket,
            now=now,
        )
    _print_key(settings, name, vehicle, key)
    _say("the old key works until you repeat this with --finish")


@client_app.command("revoke")
def revoke(name: Name, vehicle: Vehicle = None) -> None:
    """Take away every key of a client, or one vehicle's; what it uploaded stays."""
    settings = load_settings()
    with catalog_of(settings) as connection:
        gone = clients.revoke_client(
            connection,
            iam_of(settings),
            client=name,
            vehicle=vehicle,
            now=datetime.now(UTC),
        )
    _say(f"revoked: {', '.join(gone)}" if gone else "it had no key that worked")


def iam_of(settings: Settings) -> Iam:
    return Iam(
        endpoint=settings.iam_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )


def public_endpoint(settings: Settings) -> str:
    """The S3 endpoint as others reach it; empty for AWS."""
    return settings.public_s3_endpoint or settings.s3_endpoint or ""


def catalog_of(settings: Settings) -> Any:
    """A connection to the catalog that the end of a `with` closes."""
    return closing(connect(required(settings.database_url, "LOGBOX_DATABASE_URL")))


def _print_key(settings: Settings, client: str, vehicle: str | None, key: AccessKey) -> None:
    lines = {
        "LOGBOX_CLIENT": client,
        "LOGBOX_VEHICLE": vehicle,
        "LOGBOX_CLIENT_ACCESS_KEY_ID": key.access_key_id,
        "LOGBOX_CLIENT_SECRET_ACCESS_KEY": key.secret_access_key,
        "LOGBOX_LANDING_BUCKET": settings.landing_bucket,
        "LOGBOX_S3_ENDPOINT": public_endpoint(settings),
        "LOGBOX_S3_REGION": settings.s3_region,
        "LOGBOX_RECEIPT_PUBLIC_KEY": _receipt_keys(settings),
    }
    for name, value in lines.items():
        if value is not None:
            sys.stdout.write(f"{name}={value}\n")
    _say(
        "this is the only time the secret is shown: keep the lines in a file on the drone, then\n"
        "  logbox-drone upload --env FILE PATH..."
    )


def _receipt_keys(settings: Settings) -> str | None:
    """None, and a word on it, when nothing could sign a receipt: the key is good without."""
    try:
        return receipt_keys(settings)
    except SettingError as error:
        _say(f"without LOGBOX_RECEIPT_PUBLIC_KEY: {error}")
        return None


def _client_json(client: clients.Client) -> dict[str, Any]:
    return {
        "client": client.client,
        "created_at": _iso(client.created_at),
        "revoked_at": _iso(client.revoked_at),
        "keys": [
            {
                "access_key_id": key.access_key_id,
                "vehicle": key.vehicle,
                "created_at": _iso(key.created_at),
                "revoked_at": _iso(key.revoked_at),
            }
            for key in client.keys
        ],
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _say(text: str) -> None:
    typer.echo(text, err=True)
