"""`upload --wait`, `--delete-after`: nothing counts but Logbox's signed word about these bytes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from logbox_pipeline.core.policies import client_user
from logbox_pipeline.drone import cli
from logbox_pipeline.drone.confirm import Receipts
from logbox_pipeline.drone.deliver import Wish, confirmed, describe, result_of
from logbox_pipeline.drone.errors import KeyRefusedError, NoAnswerError
from logbox_pipeline.drone.receipt import Stage
from logbox_pipeline.drone.remove import remove_proven
from logbox_pipeline.drone.store import Store
from logbox_pipeline_tests.drone.bad_link import Answer, Cut, bad_link, troubles
from logbox_pipeline_tests.drone.conftest import Landing
from logbox_pipeline_tests.drone.signer import Signer, receipt_fields

GET_RECEIPT = r"^GET .*receipts.*\.json "
DIGEST = "ab" * 32
DELETE = Wish(delete_after=Stage.ARCHIVED, timeout_s=0)


def deliver(
    landing: Landing,
    log: Path,
    wish: Wish,
    sleep: Callable[[float], None] = lambda seconds: None,
) -> dict[str, Any]:
    uploader = landing.uploader()
    delivery = result_of(log, uploader, None, lambda done, total: None, wish)
    return confirmed(delivery, uploader, wish, sleep)


def test_receipt_that_comes_later_is_waited_for(landing: Landing, log: Path) -> None:
    sleeps = 0

    def sleep(seconds: float) -> None:
        nonlocal sleeps
        sleeps += 1
        if sleeps == 3:
            landing.put_receipt("flight.ulg", log.read_bytes())

    result = deliver(landing, log, Wish(Stage.LOADED, timeout_s=60), sleep)
    assert result["state"] == "loaded"
    assert result["receipt"]["archived_at"] == "2026-11-29T12:00:00+00:00"
    assert sleeps == 3
    assert log.exists()


@pytest.mark.parametrize("at", ["digest", "key"])
def test_copy_is_deleted_on_a_receipt_at_either_place(landing: Landing, log: Path, at: str) -> None:
    landing.put_receipt("flight.ulg", log.read_bytes(), at=at)
    result = deliver(landing, log, DELETE)
    assert (result["state"], result["is_deleted"], log.exists()) == ("archived", True, False)
    assert "deleted" in describe(result)


def test_one_changed_character_keeps_the_file(landing: Landing, log: Path) -> None:
    stored = landing.put_receipt("flight.ulg", log.read_bytes())
    wrong = stored.replace(b'"size_bytes":4', b'"size_bytes":5')
    assert wrong != stored
    landing.put_stored("flight.ulg", log.read_bytes(), wrong)
    result = deliver(landing, log, DELETE)
    assert (result["state"], log.exists()) == ("unconfirmed", True)
    assert "signature is not that of these bytes" in result["error"]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"sha256": DIGEST, "declared_sha256": DIGEST}, "unconfirmed"),
        ({"sha256": DIGEST}, "unconfirmed"),
        ({"sha256": None}, "unconfirmed"),
        ({"client": "another"}, "unconfirmed"),
        ({"archived_at": None}, "unconfirmed"),
        ({"state": "erased"}, "refused"),
        ({"state": "quarantined", "reason": "mismatch", "sha256": DIGEST}, "refused"),
    ],
)
def test_word_about_anything_else_keeps_the_file(
    landing: Landing, log: Path, changes: dict[str, Any], state: str
) -> None:
    for at in ("digest", "key"):
        landing.put_receipt("flight.ulg", log.read_bytes(), at=at, **changes)
    result = deliver(landing, log, DELETE)
    assert (result["state"], log.exists()) == (state, True)


@pytest.mark.parametrize("stage", ["replicated", "loaded"])
def test_earlier_stage_keeps_the_file(landing: Landing, log: Path, stage: str) -> None:
    landing.put_receipt("flight.ulg", log.read_bytes(), loaded_at=None)
    result = deliver(landing, log, replace(DELETE, delete_after=Stage(stage)))
    assert (result["state"], log.exists()) == ("unconfirmed", True)
    assert "so far: archived" in result["error"]


def test_unknown_key_keeps_the_file(landing: Landing, log: Path) -> None:
    stranger = replace(landing, signer=Signer(b"s" * 32))
    stranger.put_receipt("flight.ulg", log.read_bytes())
    result = deliver(landing, log, DELETE)
    assert (result["state"], log.exists()) == ("unconfirmed", True)
    assert "not known here" in result["error"]


def test_file_that_changed_since_is_kept(landing: Landing, log: Path) -> None:
    landing.put_receipt("flight.ulg", log.read_bytes())
    uploader = landing.uploader()
    delivery = result_of(log, uploader, None, lambda done, total: None, DELETE)
    log.write_bytes(log.read_bytes() + b"more")
    result = confirmed(delivery, uploader, DELETE)
    assert (result["state"], result["is_deleted"], log.exists()) == ("failed", False, True)
    assert "next:" in describe(result)


def test_removing_wants_these_very_bytes(landing: Landing, log: Path) -> None:
    """The same size and time do not help."""
    landing.put_receipt("flight.ulg", log.read_bytes())
    uploader = landing.uploader()
    delivery = result_of(log, uploader, None, lambda done, total: None, DELETE)
    assert delivery.sent is not None
    receipt = Receipts(uploader.store).look(delivery.sent.key, delivery.sent.sha256).receipt
    assert receipt is not None
    log.write_bytes(bytes(log.stat().st_size))
    assert "not the one" in (remove_proven(log, receipt, Stage.ARCHIVED) or "")
    assert log.exists()


def test_quarantine_ends_the_wait_with_its_reason(landing: Landing, log: Path) -> None:
    landing.put_receipt(
        "flight.ulg", log.read_bytes(), state="quarantined", reason="too_large", archived_at=None
    )
    result = deliver(landing, log, Wish(Stage.ARCHIVED, timeout_s=1000))
    assert result["state"] == "refused"
    assert "too_large" in result["error"]
    assert result["receipt"]["reason"] == "too_large"


def test_old_refusal_of_the_same_bytes_is_not_this_uploads(landing: Landing, log: Path) -> None:
    old = {"state": "quarantined", "received_at": "2020-01-01T00:00:00+00:00"}
    landing.put_receipt("flight.ulg", log.read_bytes(), **old)
    assert deliver(landing, log, DELETE)["state"] == "unconfirmed"


def test_receipt_of_another_file_of_that_name_is_not_ours(landing: Landing, log: Path) -> None:
    """After a card is formatted, log_1.ulg is another flight."""
    landing.put_receipt("flight.ulg", b"last week's", at="key", state="quarantined")
    assert deliver(landing, log, DELETE)["state"] == "unconfirmed"


def test_unparsed_log_ends_the_wait_for_loaded(landing: Landing, log: Path) -> None:
    logs = receipt_fields("x", "y", "z")["logs"]
    logs[0] |= {"state": "unparsed", "reason": "unknown_format"}
    landing.put_receipt("flight.ulg", log.read_bytes(), loaded_at=None, logs=logs)
    result = deliver(landing, log, Wish(Stage.LOADED, Stage.LOADED, timeout_s=1000))
    assert (result["state"], log.exists()) == ("refused", True)
    assert "unknown_format" in result["error"]


def test_file_that_stands_in_landing_counts_as_sent_when_its_receipt_says_so(
    landing: Landing, log: Path
) -> None:
    landing.uploader().upload(log)
    assert deliver(landing, log, Wish())["state"] == "failed"
    landing.put_receipt("flight.ulg", log.read_bytes())
    result = deliver(landing, log, Wish())
    assert (result["state"], landing.versions()) == ("uploaded", 2)
    assert "already" in result["note"]


def test_another_file_in_landing_is_not_ours_by_its_receipt(landing: Landing, log: Path) -> None:
    landing.uploader().upload(log)
    landing.put_receipt("flight.ulg", log.read_bytes(), at="key")
    log.write_bytes(b"another flight")
    assert deliver(landing, log, DELETE)["state"] == "failed"
    assert log.exists()


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden"])
def test_404_and_403_are_not_yet(landing: Landing, log: Path, status: str) -> None:
    code = "NoSuchKey" if status.startswith("404") else "AccessDenied"
    landing.put_receipt("flight.ulg", log.read_bytes())
    rule = troubles(on=GET_RECEIPT, first=[Answer(status, code)] * 4)
    with bad_link(landing.target.endpoint or "", rule) as link:
        result = deliver(landing, log, Wish(Stage.ARCHIVED, timeout_s=60))
    assert result["state"] == "archived"
    lists = [line for line in link.requests if "list-type=2" in line]
    assert len(lists) == (1 if status.startswith("403") else 0)


def test_revoked_key_is_an_error_at_once(landing: Landing) -> None:
    landing.iam.delete_user(client_user(landing.target.client))
    with pytest.raises(KeyRefusedError, match="does not accept"):
        look(landing)


def test_key_without_its_policy_is_an_error_at_once(landing: Landing) -> None:
    rule = troubles(on="^GET", first=[Answer("403 Forbidden", "AccessDenied")] * 9)
    with (
        bad_link(landing.target.endpoint or "", rule),
        pytest.raises(KeyRefusedError, match="may not list receipts/"),
    ):
        look(landing)


def test_wrong_secret_is_an_error_at_once(landing: Landing) -> None:
    wrong = replace(landing.target, secret_access_key="wrong")
    with pytest.raises(KeyRefusedError):
        look(replace(landing, target=wrong))


@pytest.mark.parametrize("status", ["403 Forbidden", "200 OK", "302 Found"])
def test_answer_of_a_hotspot_is_no_answer(landing: Landing, status: str) -> None:
    """403 without S3's words: something on the way, not the store, refuses."""

    class Page(Answer):
        def raw(self) -> bytes:
            body = b"<html><p>log in, please</html>"
            head = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(body)}\r\n"
            return (head + "Content-Type: text/html\r\nConnection: close\r\n\r\n").encode() + body

    rule = troubles(on="list-type", first=[Page(status, "")] * 9)
    with bad_link(landing.target.endpoint or "", rule), pytest.raises(NoAnswerError):
        Receipts(Store(landing.target)).probe()


def test_hotspot_that_answers_200_to_a_put_is_not_believed(landing: Landing, log: Path) -> None:
    class Page(Answer):
        def raw(self) -> bytes:
            return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    rule = troubles(on="^PUT", first=[Page("200 OK", "")])
    with bad_link(landing.target.endpoint or "", rule):
        landing.uploader().upload(log)
    assert landing.stored() == {"flight.ulg": log.read_bytes()}


def test_link_that_fails_while_waiting_is_waited_out(landing: Landing, log: Path) -> None:
    landing.put_receipt("flight.ulg", log.read_bytes())
    rule = troubles(on=GET_RECEIPT, first=[Cut(0), Answer("503 Slow Down", "SlowDown"), Cut(0)])
    with bad_link(landing.target.endpoint or "", rule):
        result = deliver(landing, log, Wish(Stage.ARCHIVED, timeout_s=60))
    assert result["state"] == "archived"


def test_command_waits_and_deletes(
    landing: Landing, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file = tmp_path / "drone.env"
    env_file.write_text(landing.env_lines())
    landing.put_receipt("flight.ulg", log.read_bytes())
    other = tmp_path / "other.ulg"
    other.write_bytes(b"other")
    arguments = ["upload", "--json", "--env", env_file, "--timeout", "0", "--wait", log, other]
    assert cli.main([str(one) for one in arguments]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["state"], second["state"]) == ("archived", "unconfirmed")
    assert first["receipt"]["state"] == "archived"
    assert cli.main(["upload", "--env", str(env_file), "--delete-after", "loaded", str(log)]) == 0
    assert not log.exists()
    assert other.exists()


def test_deleting_without_the_public_key_is_wrong_use(
    landing: Landing, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file = tmp_path / "drone.env"
    env_file.write_text(landing.env_lines().rpartition("LOGBOX_RECEIPT_PUBLIC_KEY")[0])
    arguments = ["upload", str(log), "--env", str(env_file), "--delete-after", "archived"]
    assert cli.main(arguments) == 2
    assert "LOGBOX_RECEIPT_PUBLIC_KEY" in capsys.readouterr().err
    assert landing.stored() == {}


@pytest.mark.parametrize(
    ("given", "means"),
    [
        (["--wait", "x.ulg"], ["--wait=archived", "x.ulg"]),
        (["x.ulg", "--wait"], ["x.ulg", "--wait=archived"]),
        (["--wait", "loaded", "x.ulg"], ["--wait", "loaded", "x.ulg"]),
        (["--wait=loaded"], ["--wait=loaded"]),
    ],
)
def test_wait_alone_means_archived(given: list[str], means: list[str]) -> None:
    assert cli.spelled_out(given) == means


def look(landing: Landing) -> object:
    return Receipts(Store(landing.target)).look(f"{landing.prefix}flight.ulg", DIGEST)
