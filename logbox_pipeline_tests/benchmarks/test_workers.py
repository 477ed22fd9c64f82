"""Several hosts on one catalog and one store do each thing once, also when one of them is lost."""

import io
from pathlib import Path
from typing import Any

import pytest

from logbox_pipeline.benchmark.hosts import Hosts
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline.steps.settle import sweep_lake
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey

HOSTS = 3
DEAD_AFTER_S = 25
PATIENCE_S = 300


def logs() -> dict[str, bytes]:
    """What two drones of two clients upload. All have the same topics, whose tables no host has
    yet; equal logs and a log that grows are spread over the keys, so that batches share them."""
    made: dict[str, bytes] = {}
    for number in range(6):
        flight = io.BytesIO()
        write_ulog(flight, seed=number, duration_s=6)
        made[f"acme/heron/{number}-a.ulg"] = flight.getvalue()
        lines = io.BytesIO()
        write_jsonl(lines, seed=number, lines=200)
        made[f"beta/kite/{number}-b.jsonl"] = lines.getvalue()
        made[f"acme/heron/{number}-c.jsonl"] = journey.jsonl("the same each time")
    grown = io.BytesIO()
    write_jsonl(grown, seed=99, lines=900)
    whole = grown.getvalue()
    for number, lines_n in enumerate((300, 600, 900)):
        made[f"beta/kite/grows-{number}.jsonl"] = b"".join(whole.splitlines(True)[:lines_n])
    return made


@pytest.mark.slow
def test_three_hosts_one_of_which_is_lost_leave_what_one_process_leaves(
    site: Site, make_site: Any, database: str, tmp_path: Path
) -> None:
    many = journey.with_settings(site, batch_files=4, run_dead_after_s=DEAD_AFTER_S)
    for key, data in logs().items():
        journey.upload(many, f"landing/{key}", data)
    dagster_url = database.replace("postgresql:", "postgresql+psycopg2:")
    with Hosts(many, tmp_path / "hosts", HOSTS, dagster_url) as hosts:
        doomed = hosts.hosts[1]

        def lose_one() -> None:
            if doomed.is_up and any(doomed.work_dir.glob("*-1/*")):
                doomed.lose()

        hosts.work_off(patience_s=PATIENCE_S, meanwhile=lose_one)
        left = [host.work_dir for host in hosts.hosts if any(host.work_dir.iterdir())]
        runs = [host.runs for host in hosts.hosts]
        ended = hosts.ended()

    assert not doomed.is_up
    # Its disk is its own: what it had in scratch still stands there, and nothing does elsewhere.
    assert left == [doomed.work_dir]
    # The one batch that it had was done again, by another host; nobody waited in a ring. Of two
    # batches that bring parts of one growing log, one may have to give way to the other.
    assert runs[1] == 1
    assert min(runs) >= 1
    failures, retries = journey.rows(
        many, "select sum(failures)::int, sum(transient_failures)::int from logbox.batches"
    )[0]
    assert failures == 1
    assert retries <= 2
    assert ended == {"FAILURE": 1 + retries, "SUCCESS": sum(runs) - 1 - retries}
    assert hosts.deadlocks() == 0

    with make_site() as alone:
        for key, data in logs().items():
            journey.upload(alone, f"landing/{key}", data)
        journey.ingest_all(alone)
        assert differences(many, alone) == []


def differences(one: Site, other: Site) -> list[str]:
    """Tables, of the catalog and of the lake, and places that do not hold the same."""
    snapshots = []
    for site in (one, other):
        # Beginnings of the growing log that were loaded before the whole one came.
        sweep_lake(journey.with_settings(site, lake_grace_s=0))
        snapshot = journey.snapshot(site)
        superseded = journey.rows(
            site,
            "select log_id::text from logbox.logs where superseded_by is not null order by 1",
        )
        # In how many steps it gave way, and whether it was read before: order decides that.
        snapshot["postgres"]["logs"] = [
            row
            for row in snapshot["postgres"]["logs"]
            if not any(log_id in row for (log_id,) in superseded)
        ]
        snapshots.append({**snapshot, "superseded": superseded})
    first, second = snapshots
    found = []
    for place, rows in first.items():
        if isinstance(rows, dict):
            tables = rows.keys() | second[place].keys()
            found += [
                f"{place} {name}: {sorted(set(rows[name]) ^ set(second[place][name]))[:4]}"
                for name in sorted(tables)
                if rows.get(name) != second[place].get(name)
            ]
        elif rows != second[place]:
            found.append(f"{place}: {rows} and {second[place]}")
    return found


def test_host_that_cannot_begin_a_run_says_so_at_once(
    site: Site, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey.upload(site, "landing/acme/d1/a.jsonl", journey.jsonl("x"))
    dagster_url = database.replace("postgresql:", "postgresql+psycopg2:")
    # Runs begin in the folder of their host, where another's relative path is nothing.
    monkeypatch.chdir(tmp_path)
    with (
        Hosts(site, Path("hosts"), 1, dagster_url) as hosts,
        pytest.raises(
            LogboxError, match=r"(?s)host-1 could not execute a run:.*must be an absolute path"
        ),
    ):
        hosts.work_off(patience_s=PATIENCE_S)
