"""README.md is true: what it names exists, what exists is named, and its code runs.

Also the commands that Logbox's own messages tell people to run next.
"""

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pytest
import typer.main

from logbox_pipeline import frames
from logbox_pipeline.cli.main import app
from logbox_pipeline.core.verification import Refusal
from logbox_pipeline.definitions import defs
from logbox_pipeline.settings import Settings
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline.steps.access_log import load_access_log
from logbox_pipeline_tests import compose_schema, journey

if TYPE_CHECKING:
    from logbox_pipeline.steps.site import Site

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```\w*\n.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
SPANS = re.findall(r"`([^`\n]+)`", PROSE)
SHELL_LINES = [
    line
    for language, block in BLOCKS
    if language == "sh"
    for line in block.replace("\\\n", " ").splitlines()
]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
QUERIES = sorted((ROOT / "sql" / "queries").glob("*.sql"))


def commands(command: Any, name: str = "logbox") -> Iterator[tuple[str, Any]]:
    """(full name, command) of every command that can be run."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for word, below in command.commands.items():
        yield from commands(below, f"{name} {word}")


COMMANDS = dict(commands(typer.main.get_command(app)))


def named_commands(text: str) -> Iterator[list[str]]:
    """The words of each `logbox ...` in a line, from `logbox` to the end of that command."""
    for part in re.split(r"[|;#]|&&|>", text):
        for line in re.findall(r"(?:^|\s)logbox (\S.*)$", part.strip()):
            yield ["logbox", *shlex.split(line)]


def wrong_in(words: list[str]) -> str | None:
    """What is wrong with a command as written; None when it can be run like that."""
    for length in (3, 2):
        command = COMMANDS.get(" ".join(words[:length]))
        if command is not None:
            known = {"-h", "--help"} | {
                option
                for parameter in command.params
                for option in (*parameter.opts, *parameter.secondary_opts)
            }
            asked = {word.partition("=")[0] for word in words if word.startswith("-")}
            unknown = sorted(asked - known - {"-"})
            return f"{' '.join(words)}: no option {', '.join(unknown)}" if unknown else None
    return f"{' '.join(words)}: no such command"


def test_commands_named_in_readme_exist() -> None:
    named = [words for text in (*SPANS, *SHELL_LINES) for words in named_commands(text)]
    assert len(named) > 40
    assert [wrong for words in named if (wrong := wrong_in(words))] == []


def test_readme_names_every_command() -> None:
    assert [name for name in COMMANDS if not re.search(rf"`{name}(?:`| )", PROSE)] == []


def test_options_in_the_table_of_commands_belong_to_their_command() -> None:
    rows = re.findall(r"^\| `(logbox [^`]+)` \| (.*) \|$", README, re.MULTILINE)
    assert len(rows) == len(COMMANDS)
    for written, meaning in rows:
        for option in re.findall(r"`(--[a-z-]+)`", meaning):
            assert wrong_in([*shlex.split(written), option]) is None


def test_options_of_choice_are_options_of_all_who_choose() -> None:
    for command in ("quarantine release", "quarantine acknowledge", "retry"):
        words = ["logbox", *command.split()]
        assert wrong_in([*words, "--client", "--reason", "--since", "--batch", "--dry-run"]) is None


def test_commands_named_in_messages_exist() -> None:
    sources = [path.read_text() for path in (ROOT / "logbox_pipeline").rglob("*.py")]
    named = [
        f"logbox {words}"
        for source in sources
        for words in re.findall(r"`logbox ([^`\n{]+?)[`{]", re.sub(r'"\n\s*f?"', "", source))
    ]
    assert len(named) > 20
    wrong = {wrong_in(["logbox", *text.split()[1:]]) for text in named}
    # A group stands for its commands, and `a/b` for two of them.
    groups = {name.rsplit(" ", 1)[0] for name in COMMANDS}
    assert {
        one
        for one in wrong
        if one
        and one.removesuffix(": no such command") not in groups
        and "/" not in one
        and "..." not in one
    } == set()


def test_make_targets_named_in_readme_exist() -> None:
    texts = (*SPANS, *SHELL_LINES)
    named = {name for text in texts for name in re.findall(r"\bmake ([a-z-]+)", text)}
    assert named <= TARGETS


def test_readme_names_every_make_target() -> None:
    named = {name for span in SPANS for name in re.findall(r"^make ([a-z-]+)", span)}
    assert TARGETS - named == set()


def test_settings_named_in_readme_exist() -> None:
    drone = (ROOT / "logbox_pipeline" / "drone" / "cli.py").read_text()
    known = {f"LOGBOX_{name.upper()}" for name in Settings.model_fields}
    known |= set(re.findall(r'"(LOGBOX_[A-Z0-9_]+)"', drone))
    assert set(re.findall(r"\bLOGBOX_[A-Z0-9_]*[A-Z0-9]\b", README)) <= known


def test_readme_explains_every_check_and_every_refusal() -> None:
    checks = {key.name for check in defs.asset_checks or () for key in check.check_keys}
    assert "no_open_refusals" in checks
    explained = set(re.findall(r"^\| `(\w+)`", README, re.MULTILINE))
    assert checks | {reason.value for reason in Refusal} <= explained


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    local = [link for link in links if not link.startswith("https://")]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_compose_file_is_in_order() -> None:
    assert list(compose_schema.findings()) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("restart: unless-stopped", "restarts: unless-stopped"),
        ("image: postgres:18.4", "image: postgres:latest"),
        ("      postgres: {condition: service_healthy}", "      pg: {condition: service_healthy}"),
        ("LOGBOX_HOME:", "LOGBOX_HOUSE:"),
        ("networks: [storage]", "networks: [storage]\n    ports: ['8333:8333']"),
        ("STACK_UI_USER:?", "STACK_UI_ADMIN:?"),
    ],
)
def test_compose_check_finds_what_is_wrong(right: str, wrong: str) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert right in text
    assert list(compose_schema.findings(text.replace(right, wrong)))


def test_queries_in_readme_are_the_files() -> None:
    shown = [block for language, block in BLOCKS if language == "sql"]
    assert sorted(shown) == sorted(path.read_text() for path in QUERIES)


def test_queries_and_code_of_readme_run(
    site: "Site", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    pretend_to_be_the_drone(site, monkeypatch)
    with (tmp_path / "flight-3.ulg").open("wb") as out:
        write_ulog(out, seed=3, duration_s=5)
    upload, read, aligned = (block for language, block in BLOCKS if language == "python")
    run(upload)
    with (tmp_path / "companion.jsonl").open("wb") as out:
        write_jsonl(out, seed=3, lines=300)
    journey.upload(
        site, "landing/acme/heron/companion.jsonl", (tmp_path / "companion.jsonl").read_bytes()
    )
    journey.ingest_all(site)
    assert journey.deliveries(site) == {
        "acme/heron/flight-3.ulg": ("archived", None),
        "acme/heron/companion.jsonl": ("archived", None),
    }
    pretend_to_have_an_access_log(site)
    run(read.replace("logbox-lake", site.lake.bucket))
    assert "heron" in capsys.readouterr().out
    monkeypatch.setattr("logbox_pipeline.frames.load_settings", lambda: site.settings)
    ((log_id,),) = journey.rows(site, "select log_id::text from logbox.logs where format = 'ulog'")
    run(aligned.replace("LOG_ID", log_id))
    assert "vehicle_attitude.q_0" in capsys.readouterr().out

    # DuckDB's S3 reader is an extension from the network: here it reads a copy.
    for stored in site.lake.list_all("lake/"):
        path = tmp_path / stored.key
        path.parent.mkdir(parents=True, exist_ok=True)
        site.lake.download(stored.key, path)
    found: dict[str, list[tuple[Any, ...]]] = {}
    for path in QUERIES:
        query = path.read_text()
        found[path.name] = (
            duckdb.sql(query.replace("s3://logbox-lake", str(tmp_path))).fetchall()
            if path.name.startswith("lake_")
            else journey.rows(site, query)
        )
    assert all(found.values())
    # Postgres and the lake give the same answer.
    ((*_, lowest_v, highest_a, remaining),) = found["battery.sql"]
    ((*_, lake_lowest_v, lake_highest_a, lake_remaining),) = found["lake_battery.sql"]
    assert (lowest_v, highest_a, remaining) == pytest.approx(
        (lake_lowest_v, lake_highest_a, lake_remaining), rel=1e-6
    )
    # DuckDB's as-of join and ours give the same frame.
    frame = frames.aligned(log_id, ["vehicle_attitude", "battery_status"], 10)
    wanted = [f"vehicle_attitude.q_{number}" for number in range(4)]
    wanted += [f"battery_status.{name}" for name in ("voltage_v", "current_a", "remaining")]
    rows = frame[wanted].reset_index().itertuples(index=False, name=None)
    assert [none_for_missing(row) for row in rows] == found["lake_aligned.sql"]


def none_for_missing(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(None if value is pd.NA else value for value in row)


def pretend_to_be_the_drone(site: "Site", monkeypatch: pytest.MonkeyPatch) -> None:
    settings = site.settings
    for name, value in {
        "LOGBOX_CLIENT": "acme",
        "LOGBOX_CLIENT_ACCESS_KEY_ID": settings.s3_access_key_id,
        "LOGBOX_CLIENT_SECRET_ACCESS_KEY": settings.s3_secret_access_key,
        "LOGBOX_LANDING_BUCKET": settings.landing_bucket,
        "LOGBOX_S3_ENDPOINT": settings.s3_endpoint,
        "LOGBOX_S3_REGION": settings.s3_region,
        "AWS_ACCESS_KEY_ID": settings.s3_access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.s3_secret_access_key,
        "AWS_ENDPOINT_URL_S3": settings.s3_endpoint,
    }.items():
        monkeypatch.setenv(name, value or "")


def pretend_to_have_an_access_log(site: "Site") -> None:
    log = site.settings.home / "log" / "access.jsonl"
    log.parent.mkdir(parents=True)
    at = datetime.now(UTC).isoformat()
    log.write_text(json.dumps({"at": at, "key_id": "AKIA", "status": 403}) + "\n")
    load_access_log(site)


def run(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {})
