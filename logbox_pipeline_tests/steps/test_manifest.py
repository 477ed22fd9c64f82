"""Files by which the archive tells of itself: none is forgotten, however slow its writer."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from logbox_pipeline.adapters import catalog_manifests
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.core.told import lines
from logbox_pipeline.steps.manifest import Manifest, put_manifests, sweep_manifests, tell
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.repair import repair
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, one, rows, upload

NOW = timedelta(0)
OWED = "select count(*) from logbox.outbox where subject <> 'receipt'"
FILES = "select archive_key, written_at is not null from logbox.manifests order by 1"


def later(site: Site) -> Site:
    start = site.now() + timedelta(minutes=11)
    return replace(site, now=lambda: start)


def slow(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[str], object]) -> None:
    """The next put of small bytes takes so long that something else happens before it."""
    put_bytes = S3Bucket.put_bytes

    def put(bucket: S3Bucket, key: str, data: bytes) -> Any:
        monkeypatch.setattr(S3Bucket, "put_bytes", put_bytes)
        meanwhile(key)
        return put_bytes(bucket, key, data)

    monkeypatch.setattr(S3Bucket, "put_bytes", put)


def drifts(site: Site) -> list[tuple[str, str]]:
    return [(found.kind.value, found.subject) for found in reconcile(site, deep=True).drifts]


def test_a_file_put_after_the_sweep_gave_it_up_is_known(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert one(site, OWED) > 0
    slow(monkeypatch, lambda _: sweep_manifests(later(site)))
    told = tell(site, settled=NOW)
    ((key, is_written),) = rows(site, FILES)
    assert is_written
    assert len(list(lines(site.archive.read(key)[0]))) == told
    assert one(site, OWED) == 0
    assert drifts(site) == []


def test_what_loses_its_name_to_another_tells_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def takes_the_name(key: str) -> None:
        sweep_manifests(later(site))
        put_manifests(site, [Manifest(key, "journal", None, b"")])

    owed = one(site, OWED)
    slow(monkeypatch, takes_the_name)
    with pytest.raises(TransientError, match="other bytes by that name"):
        tell(site, settled=NOW)
    assert one(site, OWED) == owed
    assert tell(site, settled=NOW) == owed
    assert journey.untold(site) == []


def test_the_sweep_looks_at_each_file_once_and_names_what_is_not_as_planned(site: Site) -> None:
    there, other, gone = (
        Manifest(f"archive/journal/2026/11/24/{name}.jsonl", "journal", None, name.encode())
        for name in ("there", "other", "gone")
    )
    # Something was archived: an empty catalog beside a full archive is another matter.
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    journey.ingest_all(site)
    journey.change(site, "delete from logbox.outbox")
    before = rows(site, FILES)
    with site.transaction() as cursor:
        catalog_manifests.plan(cursor, [there.row, other.row, gone.row], site.now())
    site.archive.put_bytes(there.archive_key, there.body)
    site.archive.put_bytes(other.archive_key, b"not this")
    assert sweep_manifests(site) == 0
    assert sweep_manifests(later(site)) == 3
    assert sorted(rows(site, FILES)) == sorted([*before, (there.archive_key, True)])
    found = "select kind, subject from logbox.drifts where resolved_at is null"
    assert rows(site, found) == [("unexpected", other.archive_key)]
    # Whatever it is, it keeps nobody waiting.
    assert sweep_manifests(later(site)) == 0
    assert drifts(site) == [("unexpected", other.archive_key)]
    assert [done.state for done in repair(site, by="test")] == ["done"]
    assert drifts(site) == []
