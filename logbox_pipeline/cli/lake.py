"""`logbox lake paths/duckdb/compact`: the Parquet files that count, and fewer of them."""

from collections.abc import Collection, Iterable
from datetime import date
from itertools import groupby
from typing import Annotated, Any

import typer

from logbox_pipeline.adapters import catalog_lake
from logbox_pipeline.adapters.catalog_lake import LakeFileRow
from logbox_pipeline.cli.operate import checked_site, print_line
from logbox_pipeline.cli.say import print_json, print_table, say
from logbox_pipeline.core.errors import UsageError, listed
from logbox_pipeline.steps.compact import Merged
from logbox_pipeline.steps.compact import compact as compact_lake
from logbox_pipeline.steps.site import Site

lake_app = typer.Typer(no_args_is_help=True, help="The Parquet lake: what counts, and its care.")

Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")]
Day = Annotated[
    str | None, typer.Option("--day", metavar="YYYY-MM-DD", help="Only of this day (UTC).")
]


@lake_app.command("paths")
def paths(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Such as log_events.")],
    day: Day = None,
    as_json: Json = False,
) -> None:
    """The files of a table that count now: together they hold each row exactly once."""
    site = checked_site()
    found = _live(site, [table], _day(day))
    if as_json:
        print_json(
            [
                {
                    "path": _url(site, one),
                    "received_on": one.received_on.isoformat(),
                    "rows": one.rows,
                    "size_bytes": one.size_bytes,
                    "sha256": one.sha256,
                }
                for one in found
            ]
        )
        return
    for one in found:
        print_line(_url(site, one))


@lake_app.command("duckdb")
def duckdb(
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="[TABLE]...", help="Only these; else all.")
    ] = None,
) -> None:
    """SQL for DuckDB: a view for each table, over the files that count now."""
    site = checked_site()
    for line in view_script(site.lake.bucket, _live(site, tables or None, None)):
        print_line(line)


@lake_app.command("compact")
def compact(day: Day = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Merge the small files of days that are over; exit 1 when some could not be."""
    report = compact_lake(checked_site(), day=_day(day), dry_run=dry_run)
    merged, left = ([_row(one) for one in some] for some in (report.done, report.left))
    if as_json:
        print_json({"dry_run": dry_run, **report.counts, "merged": merged, "left": left})
    elif merged:
        columns = ["table", "day", "files_before", "bytes_before", "rows", "bytes_after"]
        print_table("to be merged" if dry_run else "merged", merged, columns)
    counts = report.counts
    say(
        f"{counts['files_before']} files {'would become' if dry_run else 'became'} "
        f"{counts['files_after']}"
    )
    for one in report.left:
        say(f"left: {one.table_name} of {one.received_on}: {one.why}")
    if report.left:
        raise typer.Exit(1)


def view_script(bucket: str, files: Iterable[LakeFileRow]) -> list[str]:
    """`create view` statements; `files` by table, as `live_files` gives them."""
    lines = ["-- Over the files that count now. Make it again once one of them is not found."]
    for table, group in groupby(files, lambda one: one.table_name):
        lines += [
            f'create or replace view "{table}" as from read_parquet([',
            *(f"    's3://{bucket}/{one.lake_key}'," for one in group),
            "], union_by_name = true, hive_partitioning = true);",
        ]
    return lines


def _live(site: Site, tables: Collection[str] | None, day: date | None) -> list[LakeFileRow]:
    with site.transaction() as cursor:
        found = catalog_lake.live_files(cursor, tables, day)
        known = catalog_lake.known_tables(cursor)
    unknown = sorted(set(tables or ()) - set(known))
    if unknown:
        raise UsageError(
            f"the lake has no table {', '.join(unknown)}", hint=f"it has: {listed(known)}"
        )
    return found


def _url(site: Site, file: LakeFileRow) -> str:
    return f"s3://{site.lake.bucket}/{file.lake_key}"


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text} is no day", hint="write it as 2026-03-01") from None


def _row(one: Merged) -> dict[str, Any]:
    return {
        "table": one.table_name,
        "day": one.received_on.isoformat(),
        "files_before": len(one.old),
        "bytes_before": one.old_bytes,
        "rows": one.rows,
        "bytes_after": None if one.new is None else one.new.size_bytes,
        "path": None if one.new is None else one.new.lake_key,
        "left_because": one.why,
    }
