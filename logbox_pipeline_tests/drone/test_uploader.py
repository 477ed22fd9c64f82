"""The drone's upload against the real store, over links that are good and bad."""

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from logbox_pipeline.core.policies import client_user
from logbox_pipeline.drone.errors import TargetError, UploadError
from logbox_pipeline.drone.target import Target
from logbox_pipeline.drone.target import with_digest as key_with_digest
from logbox_pipeline.drone.uploader import Uploader
from logbox_pipeline_tests.drone.bad_link import Answer, Cut, Lose, bad_link, troubles
from logbox_pipeline_tests.drone.conftest import PART, Landing

COMPLETE = r"^POST .*uploadId="


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def with_digest(stem: str, data: bytes, suffix: str) -> str:
    return f"{stem}-{sha256(data)[:12]}{suffix}"


def test_small_log_arrives_with_its_digest(landing: Landing, log: Path) -> None:
    done = landing.uploader().upload(log)
    assert landing.stored() == {"flight.ulg": log.read_bytes()}
    assert done.key == f"{landing.prefix}flight.ulg"
    assert done.sha256 == sha256(log.read_bytes())
    assert (done.size_bytes, done.note) == (log.stat().st_size, None)
    head = landing.head("flight.ulg")
    assert head["Metadata"] == {"sha256": done.sha256}
    assert head["ChecksumSHA256"] == base64.b64encode(bytes.fromhex(done.sha256)).decode()


def test_big_log_arrives_in_parts_with_its_digest(landing: Landing, big_log: Path) -> None:
    with bad_link(landing.target.endpoint or "", lambda line: None) as link:
        done = landing.uploader().upload(big_log)
    assert landing.stored() == {"long.ulg": big_log.read_bytes()}
    head = landing.head("long.ulg")
    assert head["Metadata"] == {
        "sha256": done.sha256 == sha256(big_log.read_bytes()) and done.sha256
    }
    assert head["ChecksumSHA256"].endswith("-3")
    assert sum("partNumber=" in line for line in link.requests) == 3


def test_empty_log_arrives(landing: Landing, tmp_path: Path) -> None:
    (tmp_path / "empty.ulg").touch()
    landing.uploader().upload(tmp_path / "empty.ulg")
    assert landing.stored() == {"empty.ulg": b""}


def test_vehicle_and_name_make_the_key(landing: Landing, log: Path) -> None:
    target = replace(landing.target, vehicle="Falke.3_b")
    done = Uploader(target).upload(log, name="größe +%20&=?#.ulg")
    assert done.key == f"{landing.prefix}Falke.3_b/größe +%20&=?#.ulg"
    assert landing.stored() == {"Falke.3_b/größe +%20&=?#.ulg": log.read_bytes()}


@pytest.mark.parametrize("file", ["log", "big_log"])
def test_progress_grows_to_the_files_size(
    landing: Landing, file: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(file)
    seen: list[tuple[int, int]] = []
    landing.uploader().upload(path, on_progress=lambda *at: seen.append(at))
    size = path.stat().st_size
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)
    assert len(seen) > 1


def test_second_upload_is_an_error_and_changes_nothing(landing: Landing, log: Path) -> None:
    landing.uploader().upload(log)
    first = log.read_bytes()
    log.write_bytes(b"another flight")
    with pytest.raises(UploadError, match="already stands") as taken:
        landing.uploader().upload(log)
    assert "--name" in (taken.value.hint or "")
    assert landing.stored() == {"flight.ulg": first}
    assert landing.versions() == 1


def test_second_upload_in_parts_is_an_error_and_changes_nothing(
    landing: Landing, big_log: Path
) -> None:
    landing.uploader().upload(big_log)
    with pytest.raises(UploadError, match="already stands"):
        landing.uploader().upload(big_log)
    assert (landing.versions(), landing.open_uploads()) == (1, 0)


def test_connection_cut_in_the_middle_is_tried_again(landing: Landing, log: Path) -> None:
    rule = troubles(on="^PUT", first=[Cut(50_000), Cut(0), Cut(150_000)])
    said: list[str] = []
    with bad_link(landing.target.endpoint or "", rule) as link:
        done = landing.uploader(on_trouble=said.append).upload(log)
    assert landing.stored() == {"flight.ulg": log.read_bytes()}
    assert (len(link.requests), len(said), done.note) == (4, 3, None)
    assert "attempt 2" in said[0]


def test_part_cut_in_the_middle_is_tried_again(landing: Landing, big_log: Path) -> None:
    rule = troubles(on="partNumber=2", first=[Cut(1_000_000), Lose(), Cut(0)])
    with bad_link(landing.target.endpoint or "", rule) as link:
        landing.uploader().upload(big_log)
    assert landing.stored() == {"long.ulg": big_log.read_bytes()}
    assert sum("partNumber=1" in line for line in link.requests) == 1
    assert sum("partNumber=2" in line for line in link.requests) == 4


def test_5xx_and_slow_down_are_tried_again(landing: Landing, log: Path) -> None:
    rule = troubles(
        on="^PUT",
        first=[
            Answer("503 Slow Down", "SlowDown"),
            Answer("500 Oh", "InternalError"),
            Answer("409 Conflict", "ConditionalRequestConflict"),
        ],
    )
    with bad_link(landing.target.endpoint or "", rule):
        landing.uploader().upload(log)
    assert landing.stored() == {"flight.ulg": log.read_bytes()}


def test_patience_ends_with_a_clear_error_and_nothing_half(landing: Landing, big_log: Path) -> None:
    rule = troubles(on="partNumber=2", first=[Cut(1000)] * 3)
    with (
        bad_link(landing.target.endpoint or "", rule),
        pytest.raises(UploadError, match="given up after 3 attempts"),
    ):
        landing.uploader(attempts=3).upload(big_log)
    assert (landing.stored(), landing.open_uploads()) == ({}, 0)


def test_interrupted_upload_is_aborted(landing: Landing, big_log: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > PART:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        landing.uploader().upload(big_log, on_progress=interrupt)
    assert (landing.stored(), landing.open_uploads()) == ({}, 0)


def test_dead_endpoint_is_a_clear_error(landing: Landing, log: Path) -> None:
    with pytest.raises(UploadError, match="given up after 2 attempts"):
        landing.uploader("http://127.0.0.1:9", attempts=2).upload(log)


def test_waits_grow_and_are_jittered(landing: Landing, log: Path) -> None:
    waits: list[float] = []
    with pytest.raises(UploadError):
        landing.uploader("http://127.0.0.1:9", attempts=9, sleep=waits.append).upload(log)
    assert len(waits) == 8
    for number, wait in enumerate(waits):
        assert min(60, 2**number) / 2 <= wait <= min(60, 2**number)


def test_lost_answer_of_a_put_ends_under_a_name_with_the_digest(
    landing: Landing, log: Path
) -> None:
    rule = troubles(on="^PUT", first=[Lose()])
    with bad_link(landing.target.endpoint or "", rule):
        done = landing.uploader().upload(log)
    second = with_digest("flight", log.read_bytes(), ".ulg")
    assert done.key == landing.prefix + second
    assert "an answer was lost" in (done.note or "")
    assert landing.stored() == {"flight.ulg": log.read_bytes(), second: log.read_bytes()}


def test_lost_answer_over_another_file_loses_neither(landing: Landing, log: Path) -> None:
    landing.uploader().upload(log)
    other = log.read_bytes()
    log.write_bytes(b"another flight")
    rule = troubles(on="^PUT", first=[Lose()])
    with bad_link(landing.target.endpoint or "", rule):
        done = landing.uploader().upload(log)
    second = with_digest("flight", b"another flight", ".ulg")
    assert done.key == landing.prefix + second
    assert landing.stored() == {"flight.ulg": other, second: b"another flight"}
    assert landing.versions() == 2


def test_every_answer_lost_twice_still_ends_well(landing: Landing, log: Path) -> None:
    rule = troubles(on="^PUT", first=[Lose(), None, Lose(), None])
    with bad_link(landing.target.endpoint or "", rule):
        done = landing.uploader().upload(log)
    assert done.key.endswith(with_digest("flight", log.read_bytes(), ".ulg"))
    assert len(landing.stored()) == landing.versions() == 2


def test_lost_answer_that_was_never_carried_out_changes_no_name(
    landing: Landing, log: Path
) -> None:
    rule = troubles(on="^PUT", first=[Cut(1000)])
    with bad_link(landing.target.endpoint or "", rule):
        assert landing.uploader().upload(log).note is None


def test_lost_answer_of_a_completion_is_found_out(landing: Landing, big_log: Path) -> None:
    # AWS may answer 412 to a repeated completion; MiniStack repeats its first answer.
    rule = troubles(on=COMPLETE, first=[Lose(), Answer("412 No", "PreconditionFailed")])
    with bad_link(landing.target.endpoint or "", rule):
        done = landing.uploader().upload(big_log)
    assert (done.key, done.note) == (f"{landing.prefix}long.ulg", None)
    assert landing.stored() == {"long.ulg": big_log.read_bytes()}


def test_repeated_completion_that_the_store_repeats_is_fine(
    landing: Landing, big_log: Path
) -> None:
    rule = troubles(on=COMPLETE, first=[Lose()])
    with bad_link(landing.target.endpoint or "", rule):
        landing.uploader().upload(big_log)
    assert (landing.stored(), landing.versions()) == ({"long.ulg": big_log.read_bytes()}, 1)


def test_lost_completion_over_another_file_is_an_error(landing: Landing, big_log: Path) -> None:
    landing.admin.put_object(
        Bucket=landing.target.bucket, Key=f"{landing.prefix}long.ulg", Body=b"another"
    )
    rule = troubles(on=COMPLETE, first=[Lose()])
    with (
        bad_link(landing.target.endpoint or "", rule),
        pytest.raises(UploadError, match="already stands"),
    ):
        landing.uploader().upload(big_log)
    assert landing.stored() == {"long.ulg": b"another"}
    assert (landing.versions(), landing.open_uploads()) == (1, 0)


def test_completion_that_the_store_forgot_ends_under_a_name_with_the_digest(
    landing: Landing, big_log: Path
) -> None:
    rule = troubles(on=COMPLETE, first=[Lose(), Answer("404 No", "NoSuchUpload")])
    with bad_link(landing.target.endpoint or "", rule):
        done = landing.uploader().upload(big_log)
    assert done.key.endswith(with_digest("long", big_log.read_bytes(), ".ulg"))
    assert set(landing.stored().values()) == {big_log.read_bytes()}


def test_parts_that_the_store_forgot_are_sent_again(landing: Landing, big_log: Path) -> None:
    rule = troubles(on="partNumber=3", first=[Answer("404 No", "NoSuchUpload")])
    with bad_link(landing.target.endpoint or "", rule):
        landing.uploader().upload(big_log)
    assert (landing.stored(), landing.open_uploads()) == ({"long.ulg": big_log.read_bytes()}, 0)


@pytest.mark.parametrize("file", ["log", "big_log"])
def test_log_that_changes_while_it_is_sent_is_not_stored(
    landing: Landing, file: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(file)

    def on_link(line: str) -> None:
        # As the recorder does: after the digest was taken, before the last bytes are read.
        if line.startswith("PUT") and ("partNumber=1" in line or "partNumber" not in line):
            with path.open("r+b") as log:
                log.seek(-10, 2)
                log.write(b"different!")

    with (
        bad_link(landing.target.endpoint or "", lambda line: on_link(line)),
        pytest.raises(UploadError, match="changed while it was being sent"),
    ):
        landing.uploader().upload(path)
    assert (landing.stored(), landing.open_uploads()) == ({}, 0)


def test_log_that_grows_while_it_is_sent_is_stored_as_it_was_declared(
    landing: Landing, log: Path
) -> None:
    before = log.read_bytes()

    def grow(line: str) -> None:
        with log.open("ab") as recorder:
            recorder.write(b"more")

    with bad_link(landing.target.endpoint or "", lambda line: grow(line)):
        landing.uploader().upload(log)
    assert landing.stored() == {"flight.ulg": before}


def test_damage_on_the_way_is_refused_by_the_store_and_sent_again(
    landing: Landing, log: Path
) -> None:
    rule = troubles(on="^PUT", first=[Answer("400 Bad", "BadDigest")])
    with bad_link(landing.target.endpoint or "", rule):
        landing.uploader().upload(log)
    assert landing.stored() == {"flight.ulg": log.read_bytes()}


def test_revoked_key_says_so(landing: Landing, log: Path) -> None:
    landing.iam.delete_user(client_user(landing.target.client))
    with pytest.raises(UploadError, match=landing.target.access_key_id) as refused:
        landing.uploader().upload(log)
    assert "revoked" in (refused.value.hint or "")


def test_another_clients_folder_is_refused_at_once(landing: Landing, log: Path) -> None:
    stranger = replace(landing.target, client="someone-else")
    with pytest.raises(UploadError, match="may not write there") as refused:
        Uploader(stranger).upload(log)
    assert "LOGBOX_CLIENT" in (refused.value.hint or "")


def test_missing_file_is_a_clear_error(landing: Landing, tmp_path: Path) -> None:
    with pytest.raises(UploadError, match="No such file"):
        landing.uploader().upload(tmp_path / "none.ulg")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "a\\b", "a\nb", "\x00", "bad\udcff.ulg", "a.ulg.sha256", "x" * 900],
)
def test_name_that_logbox_would_refuse_is_refused_here(name: str) -> None:
    target = Target("acme", "logbox-landing", "AKIA", "secret")
    with pytest.raises(TargetError) as refused:
        target.key_for(name)
    assert "--name" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.ulg", "a-D.ulg"),
        ("a.ulg.gz", "a-D.ulg.gz"),
        ("v1.2.bin", "v1.2-D.bin"),
        ("noext", "noext-D"),
        (".hidden", "-D.hidden"),
    ],
)
def test_digest_goes_before_the_extension(name: str, expected: str) -> None:
    digest = "0123456789abcdef"
    assert key_with_digest(f"landing/acme/{name}", digest) == "landing/acme/" + expected.replace(
        "D", digest[:12]
    )


@pytest.mark.parametrize("client", ["", "A", "a/b", "acme/", "../x"])
def test_target_refuses_what_is_no_client(client: str) -> None:
    with pytest.raises(TargetError, match="no client's name"):
        Target(client, "bucket", "AKIA", "secret")


def test_secret_is_not_in_a_repr() -> None:
    assert "hush" not in repr(Target("acme", "bucket", "AKIA", "hush"))
