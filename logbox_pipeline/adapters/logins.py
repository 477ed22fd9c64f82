"""Login roles of people in Postgres."""

from typing import Any

from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from logbox_pipeline.adapters.postgres import transaction


def put_login(admin: Any, role: str, password: str, *, group: str) -> None:
    """Make a login role, a member of `group` and of nothing else; again sets a new password.

    The server gets the password as SCRAM's verifier, so that no statement log can hold it.
    `admin` is a connection that may create roles. Raises TransientError or StoreRefused.
    """
    with transaction(admin) as cursor:
        verifier = encrypt_password(password, role, scope=admin, algorithm="scram-sha-256")
        cursor.execute("select 1 from pg_roles where rolname = %s", (role,))
        verb = sql.SQL("alter" if cursor.fetchone() else "create")
        cursor.execute(
            sql.SQL("{} role {} login password {}").format(
                verb, sql.Identifier(role), sql.Literal(verifier)
            )
        )
        cursor.execute(sql.SQL("grant {} to {}").format(*map(sql.Identifier, (group, role))))


def drop_login(admin: Any, role: str) -> None:
    """Take a login role away and end its sessions; it is fine when it is gone."""
    with transaction(admin) as cursor:
        cursor.execute("select 1 from pg_roles where rolname = %s", (role,))
        if not cursor.fetchone():
            return
        cursor.execute(sql.SQL("alter role {} nologin").format(sql.Identifier(role)))
    # Committed first: nobody gets in between the end of a session and the end of the role.
    with transaction(admin) as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", (role,)
        )
        cursor.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
