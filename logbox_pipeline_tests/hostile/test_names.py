"""Names and texts of an attacker reach the tables as they are, and nothing else: no SQL, no shell,
no path, no markup, no terminal. One batch, looked at from every side."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.core.shown import one_line, printable
from logbox_pipeline.defs.checks import _result
from logbox_pipeline.defs.report import materialization
from logbox_pipeline.steps import alert
from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.alert import alert_of_failure
from logbox_pipeline.steps.judge import judge
from logbox_pipeline.steps.report import StepReport
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.cli.office import run, settle_in
from logbox_pipeline_tests.hostile.names import (
    CONTROLS,
    EVERYTHING,
    HARMLESS_IN_A_KEY,
    NEVER_SHOWN,
    jsonl_of,
    logs_of_names,
    ulog_of_names,
    zip_of_names,
)
from logbox_pipeline_tests.journey import one, rows, upload

REFUSED = {"script", "image", "markdown", "reversed", "separator", "invisible", "shell", "rich"}
"""Uploaded with a wrong digest: what is refused is shown to people by its name."""


def test_hostile_names_are_names_and_nothing_else(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_in(site, monkeypatch)
    for what, name in HARMLESS_IN_A_KEY.items():
        key = f"landing/acme/{name}/{name}"
        wrong = {"sha256": "0" * 64} if what in REFUSED else {}
        upload(site, key, jsonl_of(name) + what.encode(), **wrong)
    for name, data in logs_of_names().items():
        upload(site, f"landing/acme/d1/{name}", data)
    upload(site, "landing/beta/d1/b.jsonl", journey.jsonl("beta"))
    reports = journey.ingest_all(site)

    states = rows(site, "select state, coalesce(reason, '') from logbox.deliveries group by 1, 2")
    assert set(states) == {("archived", ""), ("quarantined", "mismatch")}
    assert one(site, "select count(*) from logbox.batches where failures > 0") == 0
    loaded = "select distinct format from logbox.logs where state = 'loaded' order by 1"
    assert [name for (name,) in rows(site, loaded)] == [
        "csv", "dataflash", "jsonl", "logfmt", "syslog", "text", "ulog",
    ]  # fmt: skip
    _reach_the_tables_as_they_are(site)
    _stay_where_they_belong(site)
    _are_harmless_in_dagster(site, reports)
    _are_harmless_on_a_terminal(tmp_path)
    assert not list(Path.cwd().glob("owned*"))
    assert not list(tmp_path.rglob("owned*"))


def _reach_the_tables_as_they_are(site: Site) -> None:
    vehicles = {name for (name,) in rows(site, "select vehicle from logbox.vehicles")}
    assert vehicles == {*HARMLESS_IN_A_KEY.values(), "d1"}
    # Two forms of one word are two vehicles, and stay so.
    assert {"caf\u00e9", "cafe\u0301"} <= vehicles
    messages = {text for (text,) in rows(site, "select message from logbox.log_events")}
    accepted = [name for what, name in HARMLESS_IN_A_KEY.items() if what not in REFUSED]
    for name in (*accepted, CONTROLS["clear"], CONTROLS["return"]):
        assert name in messages
    # The names of tables and columns are Logbox's own, whatever the source's are.
    named = rows(site, "select table_name, column_name from logbox.telemetry_columns")
    assert all(re.fullmatch("[a-z_][a-z0-9_]{0,62}", part) for row in named for part in row)
    sources = {name for (name,) in rows(site, "select source_name from logbox.telemetry_columns")}
    for what in ("sql_tight", "option", "profile", "format", "reversed"):
        assert HARMLESS_IN_A_KEY[what].replace(";", ",") in sources, what
    standing = "select count(*) from pg_class where relnamespace = 'telemetry'::regnamespace"
    assert one(site, standing) > len(HARMLESS_IN_A_KEY)
    assert compare_recent(site).passed
    assert journey.untold(site) == []


def _stay_where_they_belong(site: Site) -> None:
    """No key of ours leaves its place, whatever it was made from."""
    for key in journey.keys_in(site.landing, ""):
        assert key.startswith("quarantine/acme/mismatch/"), key
    receipts = journey.keys_in(site.landing, "receipts/")
    assert receipts
    for key in receipts:
        assert key.startswith(("receipts/acme/", "receipts/beta/")), key
        assert not {"", ".", ".."} & set(key.split("/")), key
    archived = journey.keys_in(site.archive, "archive/")
    assert all(keys.parse_archive_key(key) or keys.is_told(key) for key in archived), archived
    lake = journey.keys_in(site.lake, "")
    place = re.compile(r"lake/[a-z0-9_]+/received_on=[-0-9]{10}/[-0-9a-f]+\.parquet")
    assert all(place.fullmatch(key) for key in lake), lake
    assert one(site, "select count(*) from logbox.logs where client = 'beta'") == 1


def _are_harmless_in_dagster(site: Site, reports: list[StepReport]) -> None:
    shown: list[Any] = [materialization(step).metadata for step in reports]
    checks = [_result(found) for found in judge(site)]
    shown += [check.metadata for check in checks]
    refused = [name for step in reports for name in (one.name for one in step.refused)]
    assert {HARMLESS_IN_A_KEY[what] for what in REFUSED} <= set(refused)
    texts = [text for metadata in shown for value in metadata.values() for text in _texts(value)]
    texts += [check.description or "" for check in checks]
    assert any("<script>" in text for text in texts)
    for text in texts:
        assert not NEVER_SHOWN & set(text), text


def _texts(value: Any) -> Iterator[str]:
    """The texts of a metadata value. Only kinds that Dagster's page shows as they stand: no
    markdown, no link, no path, no notebook."""
    plain = (dg.IntMetadataValue, dg.FloatMetadataValue, dg.BoolMetadataValue)
    if isinstance(value, dg.TableMetadataValue):
        for record in value.records:
            yield from (cell for cell in record.data.values() if isinstance(cell, str))
    elif isinstance(value, dg.TextMetadataValue):
        yield value.text
    else:
        assert isinstance(value, plain), value


def _are_harmless_on_a_terminal(folder: Path) -> None:
    files = {"ulog": ulog_of_names(), "zip": zip_of_names()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    commands: list[tuple[int, tuple[object, ...]]] = [
        (0, ("status",)),
        (0, ("quarantine", "list", "--all")),
        (0, ("trace", HARMLESS_IN_A_KEY["reversed"])),
        (0, ("trace", HARMLESS_IN_A_KEY["script"])),
        (0, ("trace", "names.zip")),
        (1, ("trace", "never\x1b[2J\nseen")),
        (1, ("inspect", folder / "ulog", "--topic", "events")),
        (2, ("inspect", folder / "ulog", "--topic", "no\x1b[2Jne")),
        (1, ("inspect", folder / "zip")),
        (0, ("drift", "list")),
    ]
    for exit_code, command in commands:
        result = run(*command)
        assert result.exit_code == exit_code, (command, result.stderr)
        for said in (result.stdout, result.stderr):
            assert not NEVER_SHOWN & set(said), (command, sorted(NEVER_SHOWN & set(said)))
    listed = run("quarantine", "list", "--all").stdout
    assert "$(touch owned)" in listed
    assert "[bold red]x[" in listed
    # What machines read is ASCII, and says all of it.
    assert run("quarantine", "list", "--all", "--json").stdout.isascii()


def test_an_alert_of_hostile_names_is_plain_words(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slack reads `<`, backticks and line ends; nothing a drone named may be read."""
    sent: list[dict[str, str]] = []

    class Answer:
        def __enter__(self) -> "Answer":
            return self

        def __exit__(self, *_: object) -> None:
            return

    def keep(request: Any, **_: Any) -> Answer:
        sent.append(json.loads(request.data))
        return Answer()

    for name in ("<!channel>", "`code`", "a\u202eb", "a\u2028b"):
        upload(site, f"landing/acme/d1/{name}", journey.jsonl(name))
    (batch,) = journey.tick(site).offered
    listening = replace(
        site, settings=site.settings.model_copy(update={"alert_webhook_url": "http://hook.invalid"})
    )
    monkeypatch.setattr(alert.urllib.request, "urlopen", keep)
    error = str(PermanentError("about " + CONTROLS["clear"] + " <!here> ``` out"))
    alert_of_failure(listening, job="ingest", run_id="r", batch_id=str(batch.batch_id), error=error)
    (text,) = [message["text"] for message in sent]
    assert not NEVER_SHOWN & set(text)
    assert "<" not in text
    assert text.count("```") == 2
    assert len(text.splitlines()) == 4 + 5


@pytest.mark.parametrize("text", EVERYTHING.values(), ids=EVERYTHING.keys())
def test_shown_text_has_nothing_that_no_one_can_see(text: str) -> None:
    assert one_line(text).isprintable()
    assert not NEVER_SHOWN & set(printable(text))
    assert printable(str(PermanentError(f"about {text}"))) == str(PermanentError(f"about {text}"))


def test_the_page_of_a_simulation_shows_markup_as_text() -> None:
    page = pytest.importorskip("logbox_pipeline.simulator.page", reason="comes with the simulator")
    rows_ = [{"name": text, text: 1} for text in EVERYTHING.values()]
    table = page.table_of(rows_, caption=HARMLESS_IN_A_KEY["script"])
    section = page.Section(HARMLESS_IN_A_KEY["image"], tuple(EVERYTHING.values()), (table,))
    shown = page.render(page.Page(HARMLESS_IN_A_KEY["script"], sections=(section,)))
    assert "<script" not in shown
    assert "<img" not in shown
    assert "onerror" in shown
    assert "default-src 'none'" in shown
