"""Mapped files: what was read is let go again, and may still be read."""

from pathlib import Path

import pytest

from logbox_pipeline.adapters import mapped
from logbox_pipeline.adapters.mapped import kept_small, let_go, map_file

PAGE = 4096


def resident_bytes(path: Path) -> int:
    """Of the mappings of this file, by the kernel's own count."""
    found, is_ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line[0].isupper():
            is_ours = line.endswith(str(path))
        elif is_ours and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_bytes(bytes(range(256)) * 64 * 1024)
    return path


def test_pages_that_were_let_go_are_ours_no_more_and_come_back(file: Path) -> None:
    pages = map_file(file)
    whole = memoryview(pages)
    assert sum(whole[::PAGE]) == 0
    assert resident_bytes(file) >= len(whole) // 2
    let_go(pages)
    assert resident_bytes(file) == 0
    assert bytes(whole[-3:]) == b"\xfd\xfe\xff"


def test_a_large_file_is_let_go_of_while_it_is_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "HELD_BYTES", PAGE)
    pages = map_file(file)
    whole = memoryview(pages)
    with kept_small(pages):
        for _ in range(200):
            assert sum(whole[::PAGE]) == 0
            if resident_bytes(file) < len(whole):
                break
        else:
            pytest.fail("it stayed")
    assert resident_bytes(file) == 0


def test_the_end_of_the_block_may_be_an_error(file: Path) -> None:
    pages = map_file(file)
    with pytest.raises(KeyError), kept_small(pages):
        raise KeyError
    assert bytes(pages[:2]) == b"\x00\x01"
