"""A ledger says what it was told, also when its writer was killed. No stack."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.simulator.fleet_ledger import (
    Answer,
    Fleet,
    LedgerFile,
    Objects,
    Sent,
    read_ledger,
)
from logbox_pipeline.simulator.fleet_logs import REFUSED, Drone, Upload
from logbox_pipeline.simulator.fleet_plan import Fault

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
FLEET = Fleet(7, NOW, "landing", {"alpine": "AK1", "harbour": "AK2"}, "AK3", False)


@pytest.fixture
def sent(tmp_path: Path) -> list[Sent]:
    drone = Drone(tmp_path, "alpine", "heron", NOW)
    uploads = [
        drone.card("card.zip", 1, duration_s=20),
        drone.intruding("astray.ulg", into="harbour"),
    ]
    return [
        Sent(number, named(upload), "AK1", [None, Fault.WRONG_PREFIX][number])
        for number, upload in enumerate(uploads)
    ]


def named(upload: Upload) -> Upload:
    """As a ledger knows it: by its name."""
    return replace(upload, path=Path(upload.path.name))


def test_what_is_written_is_read(sent: list[Sent], tmp_path: Path) -> None:
    answers = [
        Answer(0, NOW, NOW, 200, objects={"landing/a": Objects(1, 3)}, repeats=2, kills=1),
        Answer(1, NOW, NOW, 403, "AccessDenied"),
    ]
    file = LedgerFile(tmp_path / "new" / "ledger.jsonl", FLEET, sent)
    for answer in answers:
        file.answered(answer)
    file.end(NOW)
    read = read_ledger(tmp_path / "new" / "ledger.jsonl")
    assert read.fleet == FLEET
    assert read.is_ended
    assert list(read.sent) == [
        replace(one, answer=answer) for one, answer in zip(sent, answers, strict=True)
    ]


def test_it_is_whole_before_anything_is_sent_and_after_a_kill(
    sent: list[Sent], tmp_path: Path
) -> None:
    path = tmp_path / "ledger.jsonl"
    file = LedgerFile(path, FLEET, sent)
    assert list(read_ledger(path).sent) == sent
    file.answered(Answer(1, NOW, NOW, 403))
    # Half a line is what a full disk leaves.
    with path.open("ab") as torn:
        torn.write(b'{"kind":"answer","number":0,"st')
    read = read_ledger(path)
    assert not read.is_ended
    assert [one.answer is None for one in read.sent] == [True, False]


def test_without_an_answer_an_upload_may_be_there_under_both_of_its_names(sent: list[Sent]) -> None:
    key = "landing/alpine/heron/card.zip"
    digest = sent[0].upload.sha256[:12]
    assert set(sent[0].objects) == {key, f"landing/alpine/heron/card-{digest}.zip"}
    assert {objects.least for objects in sent[0].objects.values()} == {0}
    assert sent[1].upload.state == REFUSED
    assert sent[1].objects == {}


def test_a_ledger_is_never_written_over(sent: list[Sent], tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    LedgerFile(path, FLEET, sent)
    with pytest.raises(UsageError, match="is there already"):
        LedgerFile(path, FLEET, sent)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no ledger of version 1"),
        (b"something\n", "line 1, is no ledger's"),
        (b'{"kind":"upload","number":1}\n', "line 1, is no ledger's"),
        (b'{"kind":"answer","number":9}\n', "line 1, is no ledger's"),
        (b"[]\n", "line 1, is no ledger's"),
    ],
)
def test_what_is_no_ledger_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_ledger(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_ledger(tmp_path / "nothing")
