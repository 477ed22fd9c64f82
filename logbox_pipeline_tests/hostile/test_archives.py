"""Archives that cost more than they weigh: many members, archives of archives, headers that make a
reader search again and again. Bombs by size are in steps/test_unwrap.py."""

import hashlib
import struct
import time
from pathlib import Path

import pytest

from logbox_pipeline.formats.zip_archive import zip_members
from logbox_pipeline.steps import unwrap as unwrapping
from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.unwrap_worker import UnwrapLimits, Unwrapped, unwrap_object
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.formats.test_wrappers import zipped
from logbox_pipeline_tests.journey import deliveries, jsonl, one, rows, upload, with_settings

LIMITS = UnwrapLimits(2**32, 2**34, 200, 1_000)


def unwrapped(folder: Path, data: bytes, limits: UnwrapLimits = LIMITS) -> Unwrapped:
    path = folder / "object"
    path.write_bytes(data)
    return unwrap_object(path, hashlib.sha256(data).hexdigest(), folder / "logs", limits)


def test_archives_of_archives_cannot_name_more_than_a_few_thousand_members(tmp_path: Path) -> None:
    """A million members without a log among them would be a million rows of the catalog."""
    inner = zipped((f"../{number}", b"") for number in range(100))
    many = zipped((f"{number}.zip", inner) for number in range(100))
    done = unwrapped(tmp_path, many, UnwrapLimits(2**32, 2**34, 200, 100))
    assert done.logs == ()
    assert len(done.refused) <= 3 * 100
    assert {each.reason for each in done.refused} == {"unsafe_name", "too_many"}


def test_a_million_members_are_refused_by_their_count(tmp_path: Path) -> None:
    name = b"a"
    entry = struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 1, 1, len(name), 0, 0, 0, 0, 0, 0
    )
    directory = (entry + name) * 1_000_000
    end64 = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1_000_000, 1_000_000, len(directory), 31
    )
    local = b"PK\x03\x04" + bytes(22) + struct.pack("<2H", 1, 0) + b"a"
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(local) + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    started = time.process_time()
    done = unwrapped(tmp_path, local + directory + end64 + locator + end)
    assert [each.reason for each in done.refused] == ["too_many"]
    assert time.process_time() - started < 2


@pytest.mark.parametrize("descriptor_every", [16, 64])
def test_a_file_full_of_headers_and_descriptors_is_searched_once(descriptor_every: int) -> None:
    """Each header without sizes once looked through all descriptors behind it: 30 s of CPU for
    500 KB, and a batch holds hundreds."""
    header = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 8, 0, 0, 0, 0, 0, 0, 1, 0) + b"x"
    descriptor = (b"PK\x07\x08" + b"\xee" * 12).ljust(descriptor_every, b"\xee")
    source = header * 1_100 + descriptor * (1_000_000 // descriptor_every)
    started = time.process_time()
    found = zip_members(memoryview(source), 1_000)
    assert len(found) == 1
    assert time.process_time() - started < 3


def test_headers_of_the_systems_own_files_are_passed_over_in_one_pass() -> None:
    name = b"__MACOSX/x"
    header = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0)
    started = time.process_time()
    zip_members(memoryview((header + name) * 50_000), 1_000)
    assert time.process_time() - started < 3


def test_small_archives_of_many_logs_leave_the_rest_to_later_batches(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other client's log is loaded with the first of them, not behind half a million."""
    monkeypatch.setattr(unwrapping, "MOST_MEMBERS", 20)
    for number in range(6):
        members = [(f"{n}.jsonl", jsonl(f"{number} {n}")) for n in range(15)]
        upload(site, f"landing/acme/d1/{number}.zip", zipped(members))
    upload(site, "landing/beta/d1/b.jsonl", jsonl("beta"))
    one_worker = with_settings(site, parse_workers=1)
    (batch,) = journey.tick(one_worker).offered
    journey.ingest_offers(one_worker, [batch])
    assert one(site, "select count(*) from logbox.logs where client = 'acme'") == 30
    assert one(site, "select state from logbox.logs where client = 'beta'") == "loaded"
    journey.ingest_all(one_worker)
    assert rows(site, "select state, count(*) from logbox.logs group by 1") == [("loaded", 91)]
    assert set(deliveries(site).values()) == {("archived", None)}
    assert compare_recent(site).passed
    assert journey.untold(site) == []
