"""Files of the lake are made again, however many logs are in them: each row stays there once."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from logbox_pipeline.adapters import parquet
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.steps import compact as compact_step
from logbox_pipeline.steps import remake as remake_step
from logbox_pipeline.steps.compact import compact
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.remake import Remade, remake_file_of, remake_files_of_day
from logbox_pipeline.steps.repair import repair
from logbox_pipeline.steps.settle import sweep_lake
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import one, rows, ulog, upload, with_settings
from logbox_pipeline_tests.run_compaction import a_day_on
from logbox_pipeline_tests.steps.test_compact import contents

FIX = """
    select lake_key
    from logbox.lake_files
    where state = 'live' and table_name = 'ulog_fix'
    order by 1
"""


def fly(site: Site, *seeds: int) -> Site:
    """Logs in batches of two; whoever reads them again does so two at a time."""
    lots = with_settings(site, batch_files=2)
    for seed in seeds:
        upload(site, f"landing/acme/d{seed}/a.ulg", ulog({"fix": ["x"]}, seed=seed))
    journey.ingest_all(lots)
    return lots


def keys(site: Site) -> list[str]:
    return [key for (key,) in rows(site, FIX)]


def day(site: Site) -> date:
    return date.fromisoformat(str(one(site, "select max(received_on) from logbox.logs")))


def remake(site: Site) -> Remade:
    return remake_files_of_day(site, "ulog_fix", day(site))


def is_mended(site: Site, key: str) -> None:
    """A file is lost: it is named, and made again."""
    before = contents(site)
    site.lake.delete(key)
    assert [found.subject for found in reconcile(site).drifts] == [key]
    assert [done.state for done in repair(site, by="test")] == ["done"]
    assert contents(site) == before


def test_logs_that_are_read_in_lots_keep_each_row_once(site: Site) -> None:
    lots = fly(site, 1, 2, 3, 4, 5)
    before = contents(site)
    assert len(keys(site)) == 3
    assert remake(lots).logs == 5
    is_mended(lots, keys(site)[1])
    # Files that hold each other's batches, as an older version of this step left them.
    journey.change(
        site,
        """
        update logbox.lake_files f
        set batch_ids = (
            select array_agg(distinct one)
            from logbox.lake_files o, unnest(o.batch_ids) as one
            where o.lake_key = any(%s)
        )
        where lake_key = any(%s)
        """,
        keys(site)[:2],
        keys(site)[:2],
    )
    is_mended(lots, keys(site)[0])
    assert len(keys(site)) == 2
    assert contents(site) == before
    assert reconcile(site, deep=True).drifts == ()


def test_a_compacted_file_is_made_again_as_one_file(site: Site) -> None:
    lots = fly(site, 1, 2, 3)
    compact(a_day_on(site))
    (compacted,) = keys(site)
    batches = "select batch_ids::text[] from logbox.lake_files where lake_key = %s"
    held = one(site, batches, compacted)
    is_mended(lots, compacted)
    (again,) = keys(site)
    assert one(site, batches, again) == held
    is_mended(lots, again)
    assert compact(a_day_on(site)).done == ()


# With compaction


def once(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, meanwhile: Callable[[], object]
) -> None:
    """Something happens after the next call of a function, while its caller works."""
    function = getattr(module, name)

    def call(*arguments: Any) -> Any:
        monkeypatch.setattr(module, name, function)
        result = function(*arguments)
        meanwhile()
        return result

    monkeypatch.setattr(module, name, call)


def is_tidy(site: Site) -> None:
    """The batch that gave up ends by itself, and what it had put is no reader's."""
    journey.change(site, "update logbox.batches set not_before = null")
    journey.ingest_all(site)
    assert rows(site, "select distinct state from logbox.batches") == [("finished",)]
    for days in (1, 2):
        sweep_lake(a_day_on(site, days))
    states = rows(site, "select distinct state from logbox.lake_files")
    assert states == [("live",)]
    assert sorted(journey.keys_in(site.lake)) == sorted(
        key for (key,) in rows(site, "select lake_key from logbox.lake_files")
    )


def test_remake_and_compaction_give_way_to_each_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    lots = fly(site, 1, 2, 3)
    before = contents(site)
    # Another version of pyarrow writes other bytes: then files are replaced, not put back.
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 2)

    def compacts() -> None:
        """One that had chosen its files before: it leaves days that are worked on."""
        state = "update logbox.batches set state = %s where run_id like 'repair-%%'"
        journey.change(site, state, "finished")
        assert compact(a_day_on(site)).left == ()
        journey.change(site, state, "running")

    once(monkeypatch, remake_step, "_write", compacts)
    with pytest.raises(TransientError, match="replaced by another batch"):
        remake(lots)
    assert contents(site) == before
    is_tidy(site)
    fly(site, 4)
    before = contents(site)
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 3)
    once(monkeypatch, compact_step, "_written", lambda: remake(lots))
    report = compact(a_day_on(site))
    assert "replaced meanwhile" in (report.left[-1].why or "")
    assert contents(site) == before
    compact(a_day_on(site))
    assert contents(site) == before
    is_tidy(site)


def test_a_file_is_not_put_back_once_it_does_not_count(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fly(site, 1)
    (key,) = keys(site)
    site.lake.delete(key)
    replaced = "update logbox.lake_files set state = 'replaced' where lake_key = %s"
    once(monkeypatch, remake_step, "_write", lambda: journey.change(site, replaced, key))
    with pytest.raises(TransientError, match="replaced by another batch"):
        remake_file_of(site, key)
    assert site.lake.head(key) is None
