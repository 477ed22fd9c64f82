"""`logbox status, quarantine, retry, pause, resume`: what they print, refuse and change."""

import contextlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest

from logbox_pipeline.cli.operate import parse_since
from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests.cli.office import run, run_json, settle_in
from logbox_pipeline_tests.journey import deliveries, ingest_all, one, tick, upload

LOG = b'{"ts":"2026-03-01T00:00:00Z","msg":"up"}\n' * 20
WRONG = "0" * 64
HOSTILE = ":smile:[red]x[/red]\x1b[2J\u202e\x07.jsonl"


@pytest.fixture(autouse=True)
def at_the_site(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    settle_in(site, monkeypatch)


def test_status_shows_everything_and_exits_fine_without_strict(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    upload(site, "landing/acme/d1/bad.jsonl", LOG, sha256=WRONG)
    ingest_all(site)
    result = run("status")
    assert result.exit_code == 0
    for words in ("sensor", "backlog", "freshness", "storage", "quarantined", "mismatch", "acme"):
        assert words in result.stdout, words
    assert result.stderr == ""
    assert run("status", "--strict").exit_code == 0


def test_status_json_is_a_contract(site: Site) -> None:
    upload(site, "landing/acme/d1/bad.jsonl", LOG, sha256=WRONG)
    ingest_all(site)
    found = run_json("status")
    assert sorted(found) == [
        "at", "backlog", "batches", "clients", "drifts", "freshness", "overdue", "paused_at",
        "paused_by", "refused", "replica", "sensor", "stale", "states", "storage",
    ]  # fmt: skip
    assert found["refused"][0] | {"first_seen_at": "", "last_seen_at": ""} == {
        "client": "acme", "state": "quarantined", "reason": "mismatch", "files": 1,
        "first_seen_at": "", "last_seen_at": "",
    }  # fmt: skip
    assert datetime.fromisoformat(found["at"]).tzinfo is not None


def test_an_analysts_login_is_told_that_status_is_not_for_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = f"analyst_{secrets.token_hex(4)}"
    admin = psycopg2.connect(site.settings.admin_database_url)
    admin.autocommit = True
    with contextlib.closing(admin), admin.cursor() as cursor:
        cursor.execute(f"create role {login} login password 'x' in role logbox_reader")
        try:
            server = (site.settings.database_url or "").rpartition("@")[2]
            monkeypatch.setenv("LOGBOX_DATABASE_URL", f"postgresql://{login}:x@{server}")
            result = run("status")
        finally:
            cursor.execute(f"drop role {login}")
    assert result.exit_code != 0
    assert "may not do that" in result.stderr
    assert "an analyst's login is for psql" in result.stderr


def test_strict_exits_1_and_says_what_is_overdue(site: Site) -> None:
    result = run("status", "--strict")
    assert result.exit_code == 1
    assert "overdue: the landing sensor has never looked at landing" in result.stderr
    assert "next: " in result.stderr
    assert run_json("status", "--strict", exit_code=1)["sensor"]["is_overdue"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("LOGBOX_LAKE_BUCKET", "no-such-bucket"),
        ("LOGBOX_DATABASE_URL", "postgresql://nobody:x@127.0.0.1:1/none"),
        ("LOGBOX_SILENT_AFTER_S", "soon"),
    ],
)
def test_wrong_settings_give_one_sentence_that_names_them(
    setting: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setting, value)
    result = run("status")
    assert result.exit_code == 2
    assert setting in result.stderr
    assert result.stderr.count("\n") == 2


def test_list_shows_open_ones_first_and_counts_them(site: Site) -> None:
    upload(site, "landing/acme/d1/bad.jsonl", LOG, sha256=WRONG)
    upload(site, "landing/acme/d1/b.bin", b"\x00\x01 unknown format")
    ingest_all(site)
    bad = one(site, "select delivery_id from logbox.deliveries where name = 'bad.jsonl'")
    assert run("quarantine", "acknowledge", bad, "--note", "seen").exit_code == 0
    found = run_json("quarantine", "list")
    assert (found["files"], found["open"]) == (2, 1)
    assert [row["name"] for row in found["refused"]] == ["b.bin", "bad.jsonl"]
    assert [row["is_open"] for row in found["refused"]] == [True, False]
    assert found["refused"][1]["note"] == "seen"
    result = run("quarantine", "list", "--reason", "mismatch")
    assert "bad.jsonl" in result.stdout
    assert "b.bin" not in result.stdout
    assert "1 file(s), 0 open" in result.stderr


def test_list_is_capped_unless_all_is_asked_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logbox_pipeline.cli.operate.SHOWN", 1)
    upload(site, "landing/acme/d1/b.bin", b"\x00\x01 unknown format")
    upload(site, "landing/acme/d1/c.bin", b"\x00\x01 unknown also")
    ingest_all(site)
    found = run("quarantine", "list", "--json")
    assert len(json.loads(found.stdout)["refused"]) == 1
    assert "2 file(s), 2 open; 1 shown" in found.stderr
    assert len(run_json("quarantine", "list", "--all")["refused"]) == 2


def test_show_says_everything_and_the_next_command(site: Site) -> None:
    upload(site, "landing/acme/d1/bad.jsonl", LOG, sha256=WRONG)
    ingest_all(site)
    delivery = one(site, "select delivery_id from logbox.deliveries")
    result = run("quarantine", "show", delivery)
    assert WRONG in result.stdout
    assert f"logbox quarantine release {delivery}" in result.stderr
    assert run_json("quarantine", "show", delivery)[0]["quarantine_key"].endswith("bad.jsonl")
    assert run("quarantine", "show", delivery[:8]).exit_code == 2
    assert run("quarantine", "show", WRONG[:32]).exit_code == 2


def test_release_twice_is_fine_and_says_so(site: Site) -> None:
    upload(site, "landing/acme/d1/bad.jsonl", LOG, sha256=WRONG)
    ingest_all(site)
    delivery = one(site, "select delivery_id from logbox.deliveries")
    dry = run_json("quarantine", "release", delivery, "--note", "known", "--dry-run")
    assert (dry["is_dry_run"], len(dry["released"])) == (True, 1)
    assert deliveries(site)["acme/d1/bad.jsonl"] == ("quarantined", "mismatch")
    assert len(run_json("quarantine", "release", delivery, "--note", "known")["released"]) == 1
    again = run("quarantine", "release", delivery, "--note", "known")
    assert again.exit_code == 0
    assert "0 file(s) released, 1 were before" in again.stderr
    ingest_all(site)
    assert deliveries(site)["acme/d1/bad.jsonl"] == ("archived", None)


def test_wrong_use_of_release_exits_2(site: Site) -> None:
    for arguments in (
        ("--note", "n"),
        ("--note", " ", "--client", "acme"),
        ("--client", "acme"),
        ("--note", "n", "not-an-id"),
        ("--note", "n", "00000000-0000-0000-0000-000000000000"),
        ("--note", "n", "--since", "someday"),
    ):
        result = run("quarantine", "release", *arguments)
        assert result.exit_code == 2, (arguments, result.stderr)
        assert result.stdout == ""


def test_what_cannot_be_released_exits_1_and_says_what_to_do(site: Site) -> None:
    upload(site, "landing/nobody/a.jsonl", LOG)
    ingest_all(site)
    delivery = one(site, "select delivery_id from logbox.deliveries")
    result = run("quarantine", "release", delivery, "--note", "n")
    assert result.exit_code == 1
    assert "upload it again under a safe key" in result.stderr


def test_retry_drives_unread_logs_again(site: Site) -> None:
    upload(site, "landing/acme/d1/b.bin", b"\x00\x01 unknown format")
    ingest_all(site)
    assert len(run_json("retry", "--reason", "unknown_format", "--dry-run")["retried"]) == 1
    assert len(run_json("retry", "--reason", "unknown_format", "--since", "1h")["retried"]) == 1
    assert len(run_json("retry", "--reason", "unknown_format")["retried"]) == 0
    assert len(tick(site).offered) == 1
    assert run("retry", "--log", "x").exit_code == 2


def test_pause_and_resume_twice_equal_once(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    assert "paused since" in run("pause", "--note", "moving").stderr
    again = run("pause", "--note", "other")
    assert again.exit_code == 0
    assert "already paused" in again.stderr
    assert "moving" in again.stderr
    assert tick(site).offered == ()
    assert "moving" in run("status").stdout
    assert run_json("status")["paused_by"].endswith(": moving")
    assert "again" in run("resume").stderr
    assert "not paused" in run("resume").stderr
    assert len(tick(site).offered) == 1


def test_what_a_drone_wrote_cannot_format_or_move_the_cursor(site: Site) -> None:
    upload(site, f"landing/acme/d1/{HOSTILE}", LOG)
    upload(site, "landing/acme/[bold]d2/a.jsonl", LOG, sha256="[blink]\\[x")
    ingest_all(site)
    assert one(site, "select count(*) from logbox.deliveries where state = 'quarantined'") == 2
    hostile = one(site, "select delivery_id from logbox.deliveries where reason = 'unsafe_key'")
    other = one(site, "select delivery_id from logbox.deliveries where reason = 'mismatch'")
    for arguments in (
        ("quarantine", "list"),
        ("quarantine", "show", hostile),
        ("quarantine", "show", other),
        ("quarantine", "acknowledge", "--client", "acme", "--note", "[u]n[/u]\x1b[2J"),
        ("status",),
        ("trace", hostile),
        ("trace", other),
        ("pause", "--note", "[red]x\x1b[2J"),
        ("status",),
    ):
        result = run(*arguments)
        assert result.exit_code == 0, (arguments, result.stderr)
        for said in (result.stdout, result.stderr):
            assert not {"\x1b", "\x07", "\u202e"} & set(said), (arguments, said)
    listed = run("quarantine", "list").stdout
    assert ":smile:[red]x[/red]�[2J��.jsonl" in listed
    assert "[bold]d2" in listed
    assert "[red]x" in run("status").stdout


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("36h", datetime(2026, 3, 8, 12, tzinfo=UTC)),
        ("7d", datetime(2026, 3, 3, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T12:00+02:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
    ],
)
def test_since_reads_ages_and_times(text: str, at: datetime) -> None:
    assert parse_since(text, datetime(2026, 3, 10, tzinfo=UTC)) == at


def test_since_refuses_what_is_no_time() -> None:
    for text in ("", "yesterday", "999999w", "-1d"):
        with pytest.raises(UsageError, match="is no time"):
            parse_since(text, datetime(2026, 3, 10, tzinfo=UTC) + timedelta(0))


def test_a_misspelt_setting_does_not_keep_the_stack_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOGBOX_HOME", str(tmp_path / "home"))
    (tmp_path / ".env").write_text("LOGBOX_WEB_PROT=3001\n")
    result = run("down")
    assert result.exit_code == 0
    assert "nothing runs in" in result.stderr


def test_a_log_that_gave_way_is_shown_as_superseded(site: Site) -> None:
    whole = LOG * 3
    upload(site, "landing/acme/d1/a.jsonl", whole[: len(LOG)])
    ingest_all(site)
    upload(site, "landing/acme/d1/b.jsonl", whole)
    ingest_all(site)
    states = {one["log_state"]: one["files"] for one in run_json("status")["states"]}
    assert states == {"loaded": 1, "superseded": 1}
