"""Wrapped logs: the same log is the same log, however it came, and no wrapper stops the rest."""

import gzip
import hashlib
import os
import resource
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from logbox_pipeline.adapters.catalog_retry import Choice
from logbox_pipeline.core.digest import log_id
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.steps import parse_pool, unwrap_worker
from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.ingest import ingest_offered
from logbox_pipeline.steps.parse import parse
from logbox_pipeline.steps.retry import retry
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.trace import original, trace
from logbox_pipeline.steps.unwrap_worker import UnwrapLimits, Unwrapped, unwrap_object
from logbox_pipeline.steps.verify import verify
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.formats.test_samples import EXPECTED, SAMPLES
from logbox_pipeline_tests.formats.test_wrappers import zipped, zstd
from logbox_pipeline_tests.journey import deliveries, jsonl, one, rows, ulog, upload, with_settings

LOG = jsonl("armed", "disarmed")
OTHER = jsonl("one", "two", "three")
ULOG = ulog({"fix": ["x", "y"]})
MEMBERS = """
    select member, coalesce(l.state, 'refused'), coalesce(o.reason, l.reason)
    from logbox.object_logs o
    left join logbox.logs l using (log_id)
    order by member
"""
EVENTS = "select count(*) from logbox.log_events"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def agree(site: Site) -> bool:
    return compare_recent(site).passed


# The same log


def test_the_same_log_is_the_same_log_in_every_wrapper(site: Site) -> None:
    copies = {
        "a.jsonl": LOG,
        "a.jsonl.gz": gzip.compress(LOG),
        "a.jsonl.zst": zstd(LOG),
        "lies.jsonl": gzip.compress(LOG[:10]) + gzip.compress(LOG[10:]),
        "a.zip": zipped([("deep/a.jsonl", LOG)]),
        "a.gz.zip": zipped([("a.gz", gzip.compress(LOG))]),
        "a.zip.zst": zstd(zipped([("a", LOG)])),
        "a.gz.gz": gzip.compress(gzip.compress(LOG)),
    }
    for name, data in copies.items():
        upload(site, f"landing/acme/d1/{name}", data)
        journey.ingest_all(site)
    assert rows(site, "select log_id, content_sha256, state, size_bytes from logbox.logs") == [
        (str(log_id("acme", digest(LOG))), digest(LOG), "loaded", len(LOG))
    ]
    assert journey.states(site) == [("archived", "")] + [("duplicate", "")] * (len(copies) - 1)
    assert one(site, EVENTS) == 2
    assert one(site, "select count(distinct sha256) from logbox.object_logs") == len(copies)
    assert journey.keys_in(site.landing) == []
    assert agree(site)


def test_archive_of_several_logs_becomes_several_logs_of_one_delivery(site: Site) -> None:
    inner = zipped([("c.jsonl", jsonl("c")), ("../d", b"d"), ("e.gz", gzip.compress(LOG))])
    members = [
        ("a/fix.ulg", ULOG),
        ("b/one.jsonl", LOG),
        ("b/two.jsonl.gz", gzip.compress(OTHER)),
        ("again.jsonl", LOG),
        ("../evil.txt", b"evil"),
        ("readme.txt", b"\x00no format"),
        ("empty.ulg", b""),
        ("more/", b""),
        ("__MACOSX/._a", b"x"),
        ("inner.zip", inner),
    ]
    upload(site, "landing/acme/d1/many.zip", zipped(members))
    upload(site, "landing/acme/d1/plain.jsonl", jsonl("plain"))
    _, _, parsed, loaded = journey.ingest_all(site)
    assert deliveries(site) == {
        "acme/d1/many.zip": ("archived", None),
        "acme/d1/plain.jsonl": ("archived", None),
    }
    assert rows(site, MEMBERS) == [
        ("", "loaded", None),
        ("../evil.txt", "refused", "unsafe_name"),
        ("a/fix.ulg", "loaded", None),
        ("again.jsonl", "loaded", None),
        ("b/one.jsonl", "loaded", None),
        ("b/two.jsonl.gz", "loaded", None),
        ("empty.ulg", "refused", "empty"),
        ("inner.zip/../d", "refused", "unsafe_name"),
        ("inner.zip/c.jsonl", "loaded", None),
        ("inner.zip/e.gz", "refused", "too_deep"),
        ("readme.txt", "unparsed", "unknown_format"),
    ]
    assert one(site, EVENTS) == 2 + 3 + 1 + 1 + 1  # ULog, armed.., one.., c and plain
    assert loaded.counts["loaded_logs"] == 5
    assert (parsed.counts["refused_members"], parsed.counts["unparsed_logs"]) == (4, 1)
    named = {(each.name, each.reason) for each in parsed.refused}
    assert ("many.zip/../evil.txt", "unsafe_name") in named
    assert ("many.zip/readme.txt", "unknown_format") in named
    assert agree(site)
    assert journey.keys_in(site.landing) == []


def test_ingesting_archives_twice_equals_ingesting_them_once(site: Site) -> None:
    upload(site, "landing/acme/d1/a.zip", zipped([("a", LOG), ("b", OTHER), ("/c", b"c")]))
    upload(site, "landing/acme/d1/b.zip", zipped([("b", OTHER), ("a", LOG)]))
    upload(site, "landing/acme/d1/c.zip", zipped([("a", LOG), ("d", jsonl("d"))]))
    journey.ingest_all(site)
    before = journey.snapshot(site)
    # Which of the first two owns what both hold is chance; the third alone has `d`.
    assert deliveries(site)["acme/d1/c.zip"] == ("archived", None)
    assert journey.ingest_all(site) == []
    assert journey.snapshot(site) == before
    assert one(site, EVENTS) == 6
    assert agree(site)


def test_archive_that_owns_nothing_is_a_duplicate_of_its_first_log(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    upload(site, "landing/acme/d1/b.jsonl", OTHER)
    journey.ingest_all(site)
    upload(site, "landing/acme/d1/both.zip", zipped([("b", OTHER), ("a", LOG), ("../c", b"c")]))
    upload(site, "landing/acme/d1/more.zip", zipped([("b", OTHER), ("new", jsonl("new"))]))
    journey.ingest_all(site)
    assert deliveries(site)["acme/d1/both.zip"] == ("duplicate", None)
    assert deliveries(site)["acme/d1/more.zip"] == ("archived", None)
    repeated = "select duplicate_of from logbox.deliveries where name = 'both.zip'"
    assert one(site, repeated) == str(log_id("acme", digest(OTHER)))
    assert one(site, EVENTS) == 6
    assert agree(site)


def test_two_batches_at_once_with_shared_members_load_each_log_once(site: Site) -> None:
    small = with_settings(site, batch_files=2)
    logs = [jsonl(f"log {number}") for number in range(6)]
    for number in range(4):
        members = [(f"{place}", logs[(number + place) % 6]) for place in range(4)]
        upload(site, f"landing/acme/d1/{number}.zip", zipped(members))
    offered = journey.tick(small).offered
    assert len(offered) == 2

    def run(run_key: str) -> None:
        for _ in ingest_offered(small, run_key, run_key):
            pass

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(run, [batch.run_key for batch in offered]))
    assert one(site, EVENTS) == 6
    assert one(site, "select count(*) from logbox.logs where state = 'loaded'") == 6
    assert one(site, "select count(*) from logbox.object_logs") == 16
    assert len(journey.snapshot(site)["lake"]["log_events"]) == 6
    assert set(rows(site, "select state, failures from logbox.batches")) == {("finished", 0)}
    assert agree(site)


def test_two_clients_with_the_same_wrapped_bytes_share_no_rows(site: Site) -> None:
    data = gzip.compress(ulog({"fix": ["x"]}))
    for client in ("acme", "beta"):
        upload(site, f"landing/{client}/d1/a.ulg.gz", data)
    held = journey.claim_offered(site)
    verify(site, held)
    archive(site, held)
    parsed = parse(site, held)
    assert len({one.rows for one in parsed.read}) == 2
    assert sorted(one.log.client for one in parsed.read) == ["acme", "beta"]


# Damage


def test_cut_wrapper_gives_its_beginning_and_says_where_it_broke_off(site: Site) -> None:
    log = jsonl(*(f"line {number} {os.urandom(8).hex()}" for number in range(5_000)))
    cut = gzip.compress(log)[:60_000]
    upload(site, "landing/acme/d1/cut.jsonl.gz", cut)
    journey.ingest_all(site)
    ((content, size, state, is_damaged, lost),) = rows(
        site, "select content_sha256, size_bytes, state, is_damaged, damaged_bytes from logbox.logs"
    )
    assert (state, is_damaged) == ("loaded", True)
    found = rows(site, "select message from logbox.log_events where source is null order by seq")
    lines = [message for (message,) in found]
    assert 1_000 < len(lines) < 5_000
    assert content == digest(log[:size])
    damage = "select attributes->>'reason' from logbox.log_events where source = 'logbox.damage'"
    assert ("wrapper_cut",) in rows(site, damage)
    assert lost < 200
    assert agree(site)


def test_wrong_checksum_and_garbage_lose_no_row(site: Site) -> None:
    wrong = bytearray(gzip.compress(LOG))
    wrong[-5] ^= 1
    upload(site, "landing/acme/d1/a.gz", bytes(wrong))
    upload(site, "landing/beta/d1/b.gz", gzip.compress(LOG) + b"garbage")
    journey.ingest_all(site)
    assert rows(
        site, "select client, state, is_damaged, damaged_bytes from logbox.logs order by 1"
    ) == [("acme", "loaded", True, 8), ("beta", "loaded", True, 7)]
    said = "select attributes->>'reason' from logbox.log_events where source = 'logbox.damage'"
    assert sorted(rows(site, said)) == [("wrapper_checksum",), ("wrapper_garbage",)]
    assert one(site, EVENTS) == 6


UNREADABLE = {
    "cut.gz": (gzip.compress(LOG)[:11], "broken_wrapper"),
    "word.gz": (b"\x1f\x8b\x08\x00 is how it begins, and no more of a gzip", "broken_wrapper"),
    "window.zst": (b"\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00", "unsupported"),
    "deep.gz": (gzip.compress(gzip.compress(gzip.compress(LOG))), "too_deep"),
    "evil.zip": (zipped([("../a", LOG), ("/b", LOG)]), "unsafe_name"),
    "nothing.zip": (zipped([]), "empty_archive"),
    "folder.zip": (zipped([("a/", b"")]), "empty_archive"),
    "mixed.zip": (zipped([("../a", LOG), ("b", b"")]), "nothing_readable"),
    "bzip2.zip": (zipped([("a", LOG)], zipfile.ZIP_BZIP2), "unsupported"),
    "broken.zip": (b"PK\x03\x04" + os.urandom(100), "empty_archive"),
}


def test_wrapper_in_which_nothing_can_be_read_is_itself_the_unparsed_log(site: Site) -> None:
    for name, (data, _) in UNREADABLE.items():
        upload(site, f"landing/acme/d1/{name}", data)
    upload(site, "landing/acme/d1/good.gz", gzip.compress(LOG))
    journey.ingest_all(site)
    found = """
        select d.name, l.state, l.reason, l.content_sha256 = d.sha256, l.size_bytes = d.size_bytes
        from logbox.logs l
        join logbox.deliveries d using (delivery_id)
        where l.state <> 'loaded'
    """
    assert sorted(rows(site, found)) == sorted(
        (name, "unparsed", reason, True, True) for name, (_, reason) in UNREADABLE.items()
    )
    assert one(site, EVENTS) == 2
    assert set(journey.states(site)) == {("archived", "")}
    assert journey.keys_in(site.landing) == []


def test_encrypted_archive_is_unparsed_and_says_what_would_be_needed(site: Site) -> None:
    whole = bytearray(zipped([("a", LOG)]))
    whole[6] |= 1
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    upload(site, "landing/acme/d1/secret.zip", bytes(whole))
    journey.ingest_all(site)
    ((reason, detail, kind),) = rows(site, "select reason, detail, format from logbox.logs")
    assert (reason, kind) == ("encrypted", "zip")
    assert "a: it needs a password; archive it without one" in detail


# Bombs


LIMITS = UnwrapLimits(2**32, 2**34, 200, 1_000)


def unwrap(path: Path, data: bytes, limits: UnwrapLimits = LIMITS) -> Unwrapped:
    path.write_bytes(data)
    return unwrap_object(path, digest(data), path.parent / f"{path.name}.logs", limits)


def left(path: Path) -> int:
    """Bytes in scratch beside the object itself."""
    return sum(
        each.stat().st_size for each in path.parent.rglob("*") if each.is_file() and each != path
    )


def nested_bomb() -> bytes:
    packed = zstd(bytes(2**30))
    return gzip.compress(packed)


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(lambda: zstd(bytes(2**30)), id="zstd"),
        pytest.param(lambda: gzip.compress(bytes(2**29)), id="gzip"),
        pytest.param(nested_bomb, id="nested"),
        pytest.param(lambda: zipped([("a", bytes(2**29))]), id="zip"),
    ],
)
def test_bomb_is_stopped_and_leaves_nothing_behind(tmp_path: Path, bomb: Any) -> None:
    done = unwrap(tmp_path / "bomb", bomb())
    assert done.logs == ()
    assert [each.reason for each in done.refused] == ["bomb"]
    assert left(tmp_path / "bomb") == 0


def test_bomb_among_logs_costs_itself_only(tmp_path: Path) -> None:
    done = unwrap(tmp_path / "a.zip", zipped([("a", LOG), ("bomb", bytes(2**29)), ("z", OTHER)]))
    assert [(each.member, each.sha256) for each in done.logs] == [
        ("a", digest(LOG)),
        ("z", digest(OTHER)),
    ]
    assert [(each.member, each.reason) for each in done.refused] == [("bomb", "bomb")]


def test_many_members_that_are_small_alone_are_a_bomb_together(tmp_path: Path) -> None:
    done = unwrap(tmp_path / "a.zip", zipped((f"{n}", bytes(100 * 2**20)) for n in range(4)))
    assert len(done.logs) == 2
    assert [each.reason for each in done.refused] == ["bomb"] * 2


def test_archive_that_holds_itself_is_opened_twice_and_no_more(tmp_path: Path) -> None:
    inner = zipped([("again.zip", zipped([("again.zip", zipped([("a", LOG)]))]))])
    done = unwrap(tmp_path / "quine.zip", inner)
    assert (done.logs, [(each.member, each.reason) for each in done.refused]) == (
        (),
        [("again.zip/again.zip", "too_deep")],
    )
    assert left(tmp_path / "quine.zip") == 0


def test_log_of_nothing_but_zeros_is_no_bomb(tmp_path: Path) -> None:
    zeros = bytes(200 * 2**20)
    done = unwrap(tmp_path / "zeros.zst", zstd(zeros))
    assert [each.sha256 for each in done.logs] == [digest(zeros)]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (UnwrapLimits(1_000, 2**34, 200, 10), "too_large"),
        (UnwrapLimits(2**32, 1_000, 200, 10), "too_large"),
    ],
)
def test_size_is_limited_too(tmp_path: Path, limits: UnwrapLimits, reason: str) -> None:
    done = unwrap(tmp_path / "a.gz", gzip.compress(os.urandom(5_000)), limits)
    assert [each.reason for each in done.refused] == [reason]
    assert left(tmp_path / "a.gz") == 0


def test_logs_of_nested_archives_are_counted_together(tmp_path: Path) -> None:
    inner = [(f"{n}.zip", zipped((f"{m}", f"{n}{m}".encode()) for m in range(5))) for n in range(3)]
    done = unwrap(tmp_path / "a.zip", zipped(inner), UnwrapLimits(2**32, 2**34, 200, 10))
    assert len(done.logs) == 10
    assert [each.reason for each in done.refused] == ["too_many"] * 5
    assert left(tmp_path / "a.zip") == sum(each.size_bytes for each in done.logs)


def test_memory_stays_flat(tmp_path: Path) -> None:
    packed = zstd(os.urandom(1_000_000) * 150)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = unwrap(tmp_path / "a.zst", packed, UnwrapLimits(2**32, 2**34, 1_000, 10))
    assert done.size_bytes == 150_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # KiB


def test_bombs_cost_their_own_log_and_the_batch_goes_on(site: Site) -> None:
    upload(site, "landing/acme/d1/bomb.zst", zstd(bytes(2**30)))
    upload(site, "landing/acme/d1/good.zst", zstd(LOG))
    journey.ingest_all(site)
    assert sorted(rows(site, "select state, reason from logbox.logs"), key=str) == [
        ("loaded", None),
        ("unparsed", "bomb"),
    ]
    assert set(rows(site, "select state, failures from logbox.batches")) == {("finished", 0)}


# Workers


def test_wrapper_that_kills_its_worker_costs_itself_only(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = unwrap_worker.unwrap_within
    crashing = digest(gzip.compress(OTHER, mtime=0))
    monkeypatch.setattr(parse_pool, "unwrap_within", _CrashOn(crashing))
    upload(site, "landing/acme/d1/crash.gz", gzip.compress(OTHER, mtime=0))
    upload(site, "landing/acme/d1/good.gz", gzip.compress(LOG))
    journey.ingest_all(site)
    assert sorted(rows(site, "select state, reason from logbox.logs"), key=str) == [
        ("loaded", None),
        ("unparsed", "unwrap_failed"),
    ]
    # A later Logbox can: the same delivery then owns the log in it, and no longer itself.
    monkeypatch.setattr(parse_pool, "unwrap_within", real)
    upload(site, "landing/acme/d1/copy.gz", gzip.compress(OTHER, mtime=0))
    assert len(retry(site, Choice(reason="unwrap_failed")).files) == 1
    journey.ingest_all(site)
    assert set(rows(site, "select content_sha256, state from logbox.logs")) == {
        (digest(LOG), "loaded"),
        (digest(OTHER), "loaded"),
    }
    assert one(site, "select count(*) from logbox.object_logs") == 2
    assert one(site, EVENTS) == 5
    assert journey.states(site) == [("archived", "")] * 2 + [("duplicate", "")]
    assert agree(site)


class _CrashOn:
    """Stands in for `unwrap_within`; picklable, so that a worker runs it."""

    def __init__(self, sha256: str) -> None:
        self.sha256 = sha256

    def __call__(self, path: Path, sha256: str, *rest: Any) -> Unwrapped:
        if sha256 == self.sha256:
            os._exit(3)
        return unwrap_worker.unwrap_within(path, sha256, *rest)


def test_plain_logs_see_no_worker_for_unwrapping(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> Iterator[Any]:
        raise AssertionError("a pool was asked for")
        yield

    upload(site, "landing/acme/d1/a.jsonl", LOG)
    upload(site, "landing/acme/d1/b.ulg", ULOG)
    monkeypatch.setattr(parse_pool, "unwrap_within", never)
    journey.ingest_all(site)
    assert set(rows(site, "select state from logbox.logs")) == {("loaded",)}


def test_batch_that_would_fill_scratch_leaves_the_rest_to_the_next(site: Site) -> None:
    small = with_settings(site, max_unwrapped_total_bytes=len(OTHER + jsonl("0")))
    for number in range(4):
        upload(site, f"landing/acme/d1/{number}.gz", gzip.compress(OTHER + jsonl(f"{number}")))
    upload(site, "landing/acme/d1/plain.jsonl", LOG)
    (batch,) = journey.tick(small).offered
    journey.ingest_offers(small, [batch])
    waiting = "select count(*) from logbox.deliveries where batch_id is null"
    assert one(site, waiting) == 3
    journey.ingest_all(small)
    assert one(site, waiting) == 0
    assert set(rows(site, "select state from logbox.logs")) == {("loaded",)}
    assert one(site, "select count(*) from logbox.logs") == 5
    assert journey.keys_in(site.landing) == []
    assert agree(site)


# Asking afterwards


def test_log_comes_back_out_of_its_wrapper_proven(site: Site, tmp_path: Path) -> None:
    packed = zipped([("a/b.jsonl", LOG), ("inner.zip", zipped([("c.jsonl.x", OTHER)]))])
    upload(site, "landing/acme/d1/a.zip", packed)
    journey.ingest_all(site)
    for data, member in ((LOG, "a/b.jsonl"), (OTHER, "inner.zip/c.jsonl.x")):
        wanted = log_id("acme", digest(data))
        with original(site, wanted, tmp_path) as (path, held):
            assert path.read_bytes() == data
            assert held.member == member
        with original(site, wanted, tmp_path, as_uploaded=True) as (path, _):
            assert path.read_bytes() == packed
    assert list(tmp_path.glob(".logbox-*")) == []
    journey.change(site, "update logbox.logs set content_sha256 = %s", "0" * 64)
    with (
        pytest.raises(PermanentError, match="not found in its object"),
        original(site, log_id("acme", digest(LOG)), tmp_path),
    ):
        pass


def test_trace_tells_each_member_and_finds_an_archive_by_them(site: Site) -> None:
    upload(site, "landing/acme/d1/first.jsonl", OTHER)
    journey.ingest_all(site)
    upload(
        site,
        "landing/acme/d1/a.zip",
        zipped([("x/fix.jsonl", LOG), ("old.jsonl", OTHER), ("../evil", b"e")]),
    )
    journey.ingest_all(site)
    for what in ("a.zip", "fix.jsonl", "x/fix.jsonl", str(log_id("acme", digest(LOG)))):
        (told,) = trace(site, what).deliveries
        assert len(told.log_ids) == 2
        said = [(hop.hop, hop.detail) for hop in told.hops]
        assert any(hop == "parsed" and "(x/fix.jsonl)" in detail for hop, detail in said)
        assert any(hop == "duplicate" and "(old.jsonl)" in detail for hop, detail in said)
        assert any(hop == "not read" and "../evil: unsafe_name" in detail for hop, detail in said)
    assert not trace(site, "ix.jsonl").found
    assert not trace(site, "%.jsonl").found


def test_retry_reads_the_unread_members_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(site, "landing/acme/d1/a.zip", zipped([("a", LOG), ("b", b"\x00no format")]))
    journey.ingest_all(site)
    loaded_at = "select loaded_at from logbox.logs where state = 'loaded'"
    before = one(site, loaded_at)
    (again,) = retry(site, Choice(reason="unknown_format")).files
    assert again.name == "a.zip/b"
    journey.ingest_all(site)
    assert sorted(rows(site, "select state, reason from logbox.logs"), key=str) == [
        ("loaded", None),
        ("unparsed", "unknown_format"),
    ]
    assert one(site, loaded_at) == before
    assert one(site, EVENTS) == 2
    assert agree(site)


def test_outcome_says_which_member_became_which_log(site: Site) -> None:
    upload(site, "landing/acme/d1/a.zip", zipped([("a", LOG), ("/b", b"b")]))
    upload(site, "landing/acme/d1/plain.jsonl", OTHER)
    journey.ingest_all(site)
    assert journey.untold(site) == []
    packed, plain = sorted(
        (row["members"] for (kind, _), row in journey.told(site).items() if kind == "object"),
        key=len,
        reverse=True,
    )
    assert [(one["member"], one["log_id"], one["reason"]) for one in packed] == [
        ("/b", None, "unsafe_name"),
        ("a", str(log_id("acme", digest(LOG))), None),
    ]
    assert [one["member"] for one in plain] == [""]


@pytest.mark.skipif(not EXPECTED, reason=f"no sample logs in {SAMPLES}")
def test_wrapped_samples_come_out(site: Site) -> None:
    folder = SAMPLES / "corrupt"
    for name in (
        "sample_small.ulg.gz", "sample_small.ulg.zst", "trunc.ulg.zst", "multi_and_zipslip.zip",
    ):  # fmt: skip
        # Of its own vehicle: it is the beginning of the others, which would supersede it.
        vehicle = "d2" if name == "trunc.ulg.zst" else "d1"
        upload(site, f"landing/acme/{vehicle}/{name}", (folder / name).read_bytes())
    journey.ingest_all(site)
    assert one(site, "select count(*) from logbox.logs where format = 'ulog'") == 2
    assert one(site, "select count(*) from logbox.logs where is_damaged") == 1
    assert one(site, "select member from logbox.object_logs where log_id is null") == "../evil.txt"
    assert agree(site)
