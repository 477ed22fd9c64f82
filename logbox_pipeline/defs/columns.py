"""Column schemas for the UI, read from where they are defined: the migrations and core.tables."""

import re
from functools import cache

import dagster as dg

from logbox_pipeline.core import tables
from logbox_pipeline.steps.migrations import sql_folder

_COMMENT = re.compile(r"comment on column logbox\.(\w+)\.(\w+) is '((?:[^']|'')*)'")
_TABLE = re.compile(r"create table logbox\.(\w+) \((.*?)\n\);", re.DOTALL)
_COLUMN = re.compile(r"^    (\w+) ([\w.]+(?: precision)?)", re.MULTILINE)
_NO_COLUMN = {"check", "primary", "unique", "foreign", "constraint"}


def columns_of(table: str) -> dg.TableSchema:
    """Columns of a catalog table, with the types and comments of its migration."""
    comments = _comments(table)
    body = dict(_TABLE.findall(_migrations()))[table]
    return dg.TableSchema(
        [
            dg.TableColumn(name, kind, description=comments.get(name))
            for name, kind in _COLUMN.findall(body)
            if name not in _NO_COLUMN
        ]
    )


def event_columns() -> dg.TableSchema:
    """Columns of `lake/log_events`, whose rows every format yields."""
    comments = _comments("logs") | _comments(tables.EVENTS)
    schema = tables.lake_schema(tables.EVENT_COLUMNS)
    return dg.TableSchema(
        [
            dg.TableColumn(field.name, str(field.type), description=comments.get(field.name))
            for field in schema
        ]
    )


def _comments(table: str) -> dict[str, str]:
    return {
        column: text.replace("''", "'")
        for found, column, text in _COMMENT.findall(_migrations())
        if found == table
    }


@cache
def _migrations() -> str:
    files = sorted((sql_folder() / "migrations").glob("*.sql"))
    return "\n".join(file.read_text() for file in files)
