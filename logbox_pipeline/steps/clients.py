"""Who may upload and who may read: clients, their keys, analysts.

The catalog and the archive know key ids, never secrets; a secret leaves here once, in what `add_*`
and `rotate_client` return. Each change holds one lock, so that two people at once cannot tread on
each other. IAM is changed first and the catalog last: what a crash in between leaves behind in IAM
is unknown to everyone, and the next change of that user takes it away.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from logbox_pipeline.adapters.iam import MAX_KEYS, AccessKey, Iam
from logbox_pipeline.adapters.logins import drop_login, put_login
from logbox_pipeline.adapters.postgres import transaction
from logbox_pipeline.core import policies
from logbox_pipeline.core.errors import LogboxError, UsageError
from logbox_pipeline.core.keys import is_client_name

_LOCK = "select pg_advisory_xact_lock(hashtextextended('logbox.clients', 0))"


@dataclass(frozen=True)
class ClientKey:
    """A key of a client; `vehicle` None: for the whole client."""

    client: str
    vehicle: str | None
    access_key_id: str
    created_at: datetime
    revoked_at: datetime | None
    iam_user: str = ""


@dataclass(frozen=True)
class Client:
    """A tenant and every key it ever had, oldest first."""

    client: str
    created_at: datetime
    revoked_at: datetime | None
    keys: tuple[ClientKey, ...]


@dataclass(frozen=True)
class Analyst:
    analyst: str
    created_at: datetime
    revoked_at: datetime | None
    access_key_id: str | None


@dataclass(frozen=True)
class AnalystAccess:
    """What a new analyst gets, once."""

    role: str
    password: str = field(repr=False)
    lake_key: AccessKey


def add_client(
    connection: Any,
    iam: Iam,
    *,
    client: str,
    vehicle: str | None = None,
    landing_bucket: str,
    now: datetime,
) -> AccessKey:
    """Make a client, or one more vehicle of it, and its key. A revoked client lives again.

    Raises UsageError when it has a key already.
    """
    _check_names(client, vehicle)
    user = policies.client_user(client, vehicle)
    with _change(connection) as cursor:
        if _live_keys(cursor, client, vehicle):
            raise UsageError(
                f"{_name(client, vehicle)} has a key already",
                hint=f"`{_command('rotate', client, vehicle)}` gives it a new one",
            )
        cursor.execute(
            """
            insert into logbox.clients (client, created_at)
            values (%s, %s)
            on conflict (client) do update
            set revoked_at = null
            where clients.revoked_at is not null
            returning client
            """,
            (client, now),
        )
        iam.delete_user(user)
        iam.ensure_user(user, policies.client_policy(landing_bucket, client, vehicle))
        with _undone_on_error(lambda: iam.delete_user(user)):
            key = iam.create_key(user)
            _insert_key(cursor, client, vehicle, user, key, now)
    return key


def list_clients(connection: Any) -> list[Client]:
    """Every client, by name, revoked ones too."""
    with transaction(connection) as cursor:
        cursor.execute("select client, created_at, revoked_at from logbox.clients order by client")
        clients = cursor.fetchall()
        cursor.execute(
            """
            select client, vehicle, access_key_id, created_at, revoked_at, iam_user
            from logbox.client_keys
            order by created_at, access_key_id
            """
        )
        found = [ClientKey(*row) for row in cursor.fetchall()]
    return [
        Client(client, created_at, revoked_at, tuple(k for k in found if k.client == client))
        for client, created_at, revoked_at in clients
    ]


def rotate_client(
    connection: Any,
    iam: Iam,
    *,
    client: str,
    vehicle: str | None = None,
    landing_bucket: str,
    now: datetime,
) -> AccessKey:
    """A second key beside the one in use; both work until `finish_rotation`.

    Raises UsageError when there is no key, or when there are two already.
    """
    _check_names(client, vehicle)
    with _change(connection) as cursor:
        live = _live_keys(cursor, client, vehicle)
        if not live:
            raise _no_key(client, vehicle)
        if len(live) >= MAX_KEYS:
            raise UsageError(
                f"{_name(client, vehicle)} has two keys: a rotation is under way",
                hint=f"`{_command('rotate', client, vehicle)} --finish` takes the old one away",
            )
        user = live[0].iam_user
        for unknown in set(iam.key_ids(user)) - {key.access_key_id for key in live}:
            iam.delete_key(user, unknown)
        iam.ensure_user(user, policies.client_policy(landing_bucket, client, vehicle))
        key = iam.create_key(user)
        with _undone_on_error(lambda: iam.delete_key(user, key.access_key_id)):
            _insert_key(cursor, client, vehicle, user, key, now)
    return key


def finish_rotation(
    connection: Any,
    iam: Iam,
    *,
    client: str,
    vehicle: str | None = None,
    now: datetime,
) -> str:
    """Take the older of two keys away. Returns its id.

    Raises UsageError when no rotation is under way.
    """
    _check_names(client, vehicle)
    with _change(connection) as cursor:
        live = _live_keys(cursor, client, vehicle)
        if not live:
            raise _no_key(client, vehicle)
        if len(live) == 1:
            raise UsageError(
                f"{_name(client, vehicle)} has one key: no rotation is under way",
                hint=f"`{_command('rotate', client, vehicle)}` begins one",
            )
        old = live[0]
        iam.delete_key(old.iam_user, old.access_key_id)
        _revoke_key(cursor, old, now)
    return old.access_key_id


def revoke_client(
    connection: Any,
    iam: Iam,
    *,
    client: str,
    vehicle: str | None = None,
    now: datetime,
) -> list[str]:
    """Take away a client's every key, or one vehicle's; what it uploaded stays. Again is harmless.

    Returns the ids of the keys. Raises UsageError when there is no such client or vehicle.
    """
    _check_names(client, vehicle)
    with _change(connection) as cursor:
        cursor.execute("select revoked_at from logbox.clients where client = %s", (client,))
        found = cursor.fetchone()
        if found is None:
            raise UsageError(f"there is no client {client}", hint="`logbox client list` names all")
        cursor.execute(
            """
            select client, vehicle, access_key_id, created_at, revoked_at, iam_user
            from logbox.client_keys
            where client = %(client)s and (%(vehicle)s::text is null or vehicle = %(vehicle)s)
            order by created_at, access_key_id
            """,
            {"client": client, "vehicle": vehicle},
        )
        ever = [ClientKey(*row) for row in cursor.fetchall()]
        if vehicle is not None and not ever:
            raise _no_key(client, vehicle)
        for user in sorted(
            {key.iam_user for key in ever} | {policies.client_user(client, vehicle)}
        ):
            iam.delete_user(user)
        live = [key for key in ever if key.revoked_at is None]
        for key in live:
            _revoke_key(cursor, key, now)
        if vehicle is None and found[0] is None:
            cursor.execute(
                "update logbox.clients set revoked_at = %s where client = %s", (now, client)
            )
    return [key.access_key_id for key in live]


def add_analyst(
    connection: Any, admin: Any, iam: Iam, *, analyst: str, lake_bucket: str, now: datetime
) -> AnalystAccess:
    """Make a login in logbox_reader and a key that reads the lake. A revoked analyst lives again.

    `admin` is a connection that may create roles. Raises UsageError when there is such an analyst.
    """
    _check_analyst(analyst)
    user, role = policies.analyst_user(analyst), analyst_role(analyst)
    with _change(connection) as cursor:
        cursor.execute(
            """
            insert into logbox.analysts (analyst, created_at)
            values (%s, %s)
            on conflict (analyst) do update
            set created_at = excluded.created_at, revoked_at = null
            where analysts.revoked_at is not null
            returning analyst
            """,
            (analyst, now),
        )
        if cursor.fetchone() is None:
            raise UsageError(
                f"there is an analyst {analyst} already",
                hint=f"for new secrets: `logbox analyst revoke {analyst}`, then add again",
            )
        iam.delete_user(user)

        def undo() -> None:
            iam.delete_user(user)
            drop_login(admin, role)

        with _undone_on_error(undo):
            iam.ensure_user(user, policies.analyst_policy(lake_bucket))
            key = iam.create_key(user)
            cursor.execute(
                "update logbox.analysts set access_key_id = %s where analyst = %s",
                (key.access_key_id, analyst),
            )
            password = secrets.token_urlsafe(24)
            put_login(admin, role, password, group="logbox_reader")
    return AnalystAccess(role, password, key)


def list_analysts(connection: Any) -> list[Analyst]:
    """Every analyst, by name, revoked ones too."""
    with transaction(connection) as cursor:
        cursor.execute(
            """
            select analyst, created_at, revoked_at, access_key_id
            from logbox.analysts
            order by analyst
            """
        )
        return [Analyst(*row) for row in cursor.fetchall()]


def revoke_analyst(connection: Any, admin: Any, iam: Iam, *, analyst: str, now: datetime) -> None:
    """Take login and key away, and end what is connected. Again is harmless.

    Raises UsageError when there is no such analyst.
    """
    _check_analyst(analyst)
    with _change(connection) as cursor:
        cursor.execute(
            """
            update logbox.analysts
            set revoked_at = coalesce(revoked_at, %s)
            where analyst = %s
            returning analyst
            """,
            (now, analyst),
        )
        if cursor.fetchone() is None:
            raise UsageError(
                f"there is no analyst {analyst}", hint="`logbox analyst list` names all"
            )
        iam.delete_user(policies.analyst_user(analyst))
        drop_login(admin, analyst_role(analyst))


def analyst_role(analyst: str) -> str:
    return f"analyst_{analyst}"


@contextmanager
def _change(connection: Any) -> Iterator[Any]:
    """One transaction, one at a time."""
    with transaction(connection) as cursor:
        cursor.execute(_LOCK)
        yield cursor


@contextmanager
def _undone_on_error(undo: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(LogboxError):
            undo()
        raise


def _live_keys(cursor: Any, client: str, vehicle: str | None) -> list[ClientKey]:
    cursor.execute(
        """
        select client, vehicle, access_key_id, created_at, revoked_at, iam_user
        from logbox.client_keys
        where client = %s and vehicle is not distinct from %s and revoked_at is null
        order by created_at, access_key_id
        """,
        (client, vehicle),
    )
    return [ClientKey(*row) for row in cursor.fetchall()]


def _insert_key(
    cursor: Any, client: str, vehicle: str | None, user: str, key: AccessKey, now: datetime
) -> None:
    cursor.execute(
        """
        insert into logbox.client_keys (access_key_id, client, vehicle, iam_user, created_at)
        values (%s, %s, %s, %s, %s)
        """,
        (key.access_key_id, client, vehicle, user, now),
    )


def _revoke_key(cursor: Any, key: ClientKey, now: datetime) -> None:
    cursor.execute(
        "update logbox.client_keys set revoked_at = %s where access_key_id = %s",
        (now, key.access_key_id),
    )


def _check_names(client: str, vehicle: str | None) -> None:
    if not is_client_name(client):
        raise UsageError(
            f"{client!r} cannot be a client's name",
            hint="3 to 32 lower-case letters, digits and hyphens, no hyphen at an end",
        )
    if vehicle is not None and not policies.is_vehicle_name(vehicle):
        raise UsageError(
            f"{vehicle!r} cannot be a vehicle's name",
            hint="1 to 64 letters, digits, `.`, `_` and `-`",
        )


def _check_analyst(analyst: str) -> None:
    if not policies.is_analyst_name(analyst):
        raise UsageError(
            f"{analyst!r} cannot be an analyst's name",
            hint="1 to 31 lower-case letters, digits and `_`, beginning with a letter",
        )


def _no_key(client: str, vehicle: str | None) -> UsageError:
    return UsageError(
        f"{_name(client, vehicle)} has no key",
        hint=f"`{_command('add', client, vehicle)}` gives it one; `logbox client list` shows all",
    )


def _name(client: str, vehicle: str | None) -> str:
    return f"client {client}" if vehicle is None else f"vehicle {vehicle} of client {client}"


def _command(verb: str, client: str, vehicle: str | None) -> str:
    narrow = "" if vehicle is None else f" --vehicle {vehicle}"
    return f"logbox client {verb} {client}{narrow}"
