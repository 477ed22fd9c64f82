import pytest

from logbox_pipeline.core import keys, seal
from logbox_pipeline.core.seal import Seal

A, B = "a" * 64, "b" * 64
FILES = {"archive/manifests/acme/x.jsonl": A, "archive/manifests/acme/b.jsonl": B}
FIRST, SECOND = Seal("acme", 1, None, FILES), Seal("acme", 2, A, FILES)


@pytest.mark.parametrize("one", [FIRST, SECOND, Seal(keys.JOURNAL_CLIENT, 1, None, {"j": A})])
def test_a_list_says_what_it_was_made_of(one: Seal) -> None:
    assert seal.parse(one.client, one.number, seal.render(one)) == one


def test_lines_are_those_of_sha256sum_in_key_order_after_the_seal_before() -> None:
    assert seal.render(SECOND).decode() == (
        f"{A}  archive/seals/acme/000001.sha256\n"
        f"{B}  archive/manifests/acme/b.jsonl\n"
        f"{A}  archive/manifests/acme/x.jsonl\n"
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "\n",
        lambda text: "\n" + text,
        lambda text: text.replace("  ", " *"),
        lambda text: text.replace("b" * 64, "B" * 64),
        lambda text: text + text.splitlines()[-1] + "\n",
        lambda text: text.replace("000001", "000002"),
        lambda text: "".join(text.splitlines(keepends=True)[1:]),
        lambda text: "".join(text.splitlines(keepends=True)[:1]),
        lambda text: "".join(reversed(text.splitlines(keepends=True))),
        lambda text: text.replace("x.jsonl", "ü.jsonl"),
        lambda text: "",
    ],
)
def test_what_is_not_exactly_such_a_list_is_none(change: object) -> None:
    assert callable(change)
    assert seal.parse("acme", 2, change(seal.render(SECOND).decode()).encode()) is None


@pytest.mark.parametrize("key", ["a b", "a\\b", "a\nb", "ü", ""])
def test_key_that_sha256sum_would_read_otherwise_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in a seal"):
        seal.render(Seal("acme", 1, None, {key: A}))


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (keys.seal_key("acme", 1), ("acme", 1)),
        (keys.seal_key(keys.JOURNAL_CLIENT, 1_234_567), (keys.JOURNAL_CLIENT, 1_234_567)),
        ("archive/seals/acme/1.sha256", None),
        ("archive/seals/acme/000000.sha256", None),
        ("archive/seals/acme/00000١.sha256", None),
        ("archive/seals/acme/000001.sha256.sig", None),
        ("archive/seals/acme/x/000001.sha256", None),
        ("archive/manifests/acme/000001.sha256", None),
    ],
)
def test_only_a_seals_own_key_is_one(key: str, place: tuple[str, int] | None) -> None:
    assert keys.parse_seal_key(key) == place
