"""Bytes to lines: whatever the bytes, each is in a line or in a damage, and no line suffers."""

import codecs

import pytest

from logbox_pipeline.formats.stream import Damage, Limits
from logbox_pipeline.formats.text_lines import BLOCK_BYTES, Block, blocks
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT


def split(data: bytes, **limits: object) -> tuple[list[str], list[Damage]]:
    """The lines and the damages; holds that every byte but a mark is in one of them."""
    lines: list[str] = []
    damages: list[Damage] = []
    pos = 0
    for piece in blocks(memoryview(data), Limits(received_at=RECEIVED_AT, **limits)):  # type: ignore[arg-type]
        assert piece.start - pos in (0, 3)
        pos = piece.end
        if isinstance(piece, Damage):
            damages.append(piece)
            continue
        assert piece.text.endswith("\n")
        assert piece.text.count("\n") == piece.lines
        lines += piece.text[:-1].split("\n")
    assert pos == len(data)
    return lines, damages


def test_a_run_of_nul_parts_lines_and_is_lost() -> None:
    lines, (damage,) = split(b"before\nhalf a li" + bytes(5_000) + b"next\nlast\n")
    assert lines == ["before", "half a li", "next", "last"]
    assert (damage.start, damage.end, damage.reason, damage.line) == (16, 5_016, "zeroed", 2)


def test_trailing_ff_is_lost_and_nothing_else() -> None:
    lines, (damage,) = split(b"one\ntwo\n" + b"\xff" * 4_096)
    assert lines == ["one", "two"]
    assert (damage.start, damage.end, damage.reason) == (8, 4_104, "padding")


@pytest.mark.parametrize("size", [9, BLOCK_BYTES - 3, BLOCK_BYTES * 2 + 7])
def test_a_hole_of_any_size_is_one_damage_and_costs_no_line_behind_it(size: int) -> None:
    lines, damages = split(b"one\n" + bytes(size) + b"two\nthree\n")
    assert lines == ["one", "two", "three"]
    assert sum(d.end - d.start for d in damages) == size
    assert len(damages) == 1


def test_single_nul_bytes_become_the_replacement_character() -> None:
    assert split(b"a\0b\n") == (["a\ufffdb"], [])


def test_binary_garbage_is_lost_by_lines() -> None:
    garbage = bytes(range(26)) * 3 + bytes(range(128, 200))
    lines, damages = split(b"good\n" + garbage.replace(b"\n", b"") + b"\nfine\n")
    assert lines == ["good", "fine"]
    assert [damage.reason for damage in damages] == ["bad_line"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1251", "koi8-r", "shift-jis"])
def test_other_encodings_are_no_garbage(encoding: str) -> None:
    text = {"latin-1": "Größe überschritten", "shift-jis": "離陸しました"}.get(
        encoding, "Взлёт разрешён"
    )
    data = text.encode(encoding) + b" 7\n"
    lines, damages = split(data)
    assert damages == []
    assert lines[0].endswith(" 7")
    (block,) = blocks(memoryview(data), Limits(received_at=RECEIVED_AT))
    assert isinstance(block, Block)
    assert block.not_utf8 == {0}


def test_utf8_that_is_cut_in_a_letter_is_flagged_on_its_line_only() -> None:
    (block,) = blocks(memoryview("höhe\nhö".encode()[:-1]), Limits(received_at=RECEIVED_AT))
    assert isinstance(block, Block)
    assert (block.text, block.not_utf8) == ("höhe\nh\ufffd\n", {1})


def test_colours_titles_and_cursor_moves_are_removed() -> None:
    data = b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\x1b[2K\n\x1b(Bok\x1b[38;5;9m!\n"
    lines, damages = split(data)
    assert lines[0] == "red plain"
    assert lines[1].endswith("ok!")
    assert damages == []


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r\r\n", b"\r"])
def test_lines_end_as_they_like(newline: bytes) -> None:
    assert split(newline.join([b"one", b"two", b""])) == (["one", "two"], [])


def test_a_lone_carriage_return_inside_a_line_stays() -> None:
    assert split(b"10%\r20%\r100%\nend\n")[0] == ["10%\r20%\r100%", "end"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("has_mark", [True, False])
def test_utf16_is_read_with_and_without_its_mark(encoding: str, has_mark: bool) -> None:
    mark = codecs.BOM_UTF16_LE if encoding == "utf-16-le" else codecs.BOM_UTF16_BE
    text = "".join(f"line {number} of a log\r\n" for number in range(20_000))
    lines, damages = split((mark if has_mark else b"") + text.encode(encoding))
    assert lines == text.replace("\r\n", "\n")[:-1].split("\n")
    assert damages == []


def test_a_utf8_mark_is_no_text() -> None:
    assert split(b"\xef\xbb\xbfone\n") == (["one"], [])


def test_a_line_that_is_too_long_is_lost_alone() -> None:
    lines, (damage,) = split(b"a\n" + b"x" * 5_000 + b"\nb\n", record_bytes=1_000)
    assert lines == ["a", "b"]
    assert (damage.reason, damage.start, damage.end) == ("too_long", 2, 5_003)
    size = BLOCK_BYTES * 3
    lines, (damage,) = split(b"a\n" + b"x" * size + b"\nb\n", record_bytes=1_000)
    assert lines == ["a", "b"]
    assert (damage.start, damage.end) == (2, size + 3)


def test_the_last_line_needs_no_newline() -> None:
    assert split(b"one\ntwo")[0] == ["one", "two"]
