"""One name, one meaning: what stands in two places is the same in both."""

import re
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from dotenv import dotenv_values

from logbox_pipeline.core.verification import DeclaredBy, Verdict
from logbox_pipeline.formats.stream import TimeSource
from logbox_pipeline.settings import Settings
from logbox_pipeline_tests import journey

if TYPE_CHECKING:
    from logbox_pipeline.steps.site import Site

ROOT = Path(__file__).parents[1]
EXAMPLE = (ROOT / ".env.example").read_text()
LISTED = dict(re.findall(r"^#LOGBOX_([A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE))
"""Settings that .env.example lists, with their values; its worked variants are indented."""

NOT_IN_COMPOSE = {
    "test_database_url": "nobody tries things out there",
    "web_host": "of the embedded stack's UI",
    "web_port": "of the embedded stack's UI",
    "work_dir": "follows from LOGBOX_HOME",
    "failpoints": "for tests",
}


def test_env_example_lists_every_setting_and_no_other() -> None:
    assert sorted(LISTED) == sorted(name.upper() for name in Settings.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_env_example_says_default_and_meaning(name: str) -> None:
    field = Settings.model_fields[name]
    assert LISTED[name.upper()] == ("" if field.default is None else str(field.default))
    above = EXAMPLE.partition(f"\n#LOGBOX_{name.upper()}=")[0].rpartition("\n\n")[2]
    said = " ".join(line.removeprefix("# ") for line in above.splitlines())
    assert field.description
    assert said.startswith(field.description)


def test_untouched_copy_of_env_example_changes_nothing() -> None:
    assert dotenv_values(stream=StringIO(EXAMPLE)) == {}


def test_every_setting_named_in_env_example_exists() -> None:
    named = set(re.findall(r"\bLOGBOX_([A-Z0-9_]*[A-Z0-9])\b", EXAMPLE))
    assert named <= {name.upper() for name in Settings.model_fields}


def test_compose_passes_every_setting_to_the_code_that_reads_it() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    passed = {
        name.removeprefix("LOGBOX_").lower()
        for service in ("setup", "code")
        for name in services[service]["environment"]
    }
    assert passed == set(Settings.model_fields) - set(NOT_IN_COMPOSE)


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("deliveries", "verdict", Verdict),
        ("deliveries", "declared_by", DeclaredBy),
        ("logs", "time_source", TimeSource),
    ],
)
def test_database_knows_the_words_of_the_code(
    site: "Site", table: str, column: str, words: type[StrEnum]
) -> None:
    assert checked_words(site, table, column) == {word.value for word in words}


def checked_words(site: "Site", table: str, column: str) -> set[str]:
    """The values a `check (column in (...))` allows."""
    found: list[tuple[Any, ...]] = journey.rows(
        site,
        """
        select pg_get_constraintdef(c.oid)
        from pg_constraint c
        join pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]
        where c.contype = 'c' and c.conrelid = %s::regclass and a.attname = %s
        """,
        f"logbox.{table}",
        column,
    )
    ((definition,),) = found
    return set(re.findall(r"'(\w+)'::text", definition))
