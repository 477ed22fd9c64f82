"""`logbox seal`, `verify-seals`, `receipt-key`: exit codes are what scripts go by."""

from pathlib import Path

import pytest

from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.core.signing import public_text, signer_from_secret
from logbox_pipeline.steps.signing import signer_of
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests.cli.office import run, run_json, settle_in
from logbox_pipeline_tests.steps.test_seal import FIRST, write


def test_seals_are_made_verified_and_found_wrong(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_in(site, monkeypatch)
    nothing = run("verify-seals")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "there is no seal yet" in nothing.stderr
    changed = write(site, "a.jsonl", b"a")
    write(site, "b.jsonl", b"b", client="beta")
    made = run("seal")
    assert made.exit_code == 0
    line = made.stdout.splitlines()[0].split()
    assert line[:5] == ["acme", "seal", "1", "1", "files"]
    head = line[5]
    assert "nothing was written" in run("seal").stderr
    found = run_json("verify-seals", "--expect", head)
    assert found["wrong"] == found["unchecked"] == []
    assert found["chains"][0] == {
        "client": "acme",
        "seals": 1,
        "files": 1,
        "head": head,
        "key_ids": [signer_of(site.settings).key_id],
    }
    assert len(run_json("verify-seals", "--client", "beta")["chains"]) == 1
    # A head of another client's chain is not this one's.
    run_json("verify-seals", "--client", "beta", "--expect", head, exit_code=1)

    site.archive.put_bytes(changed, b"A")
    wrong = run("verify-seals")
    assert wrong.exit_code == 1
    assert f"mismatch  {changed}" in wrong.stdout
    assert "expected ca978112ca1bbdca" in wrong.stdout
    assert "found    559aead08264d579" in wrong.stdout


def test_verifying_needs_the_public_key_and_no_secret(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_in(site, monkeypatch)
    write(site, "a.jsonl")
    run("seal")
    ours = public_text(signer_of(site.settings).public_key)
    other = public_text(signer_from_secret("x" * 32).public_key)
    monkeypatch.delenv("LOGBOX_SECRET_KEY")
    monkeypatch.setenv("LOGBOX_DATABASE_URL", "postgresql://127.0.0.1:9/away")
    assert run("verify-seals", "--public-key", ours).exit_code == 0
    assert run("verify-seals", "--public-key", other, "--public-key", ours).exit_code == 0
    assert run("verify-seals", "--public-key", other).exit_code == 1
    assert run("verify-seals", "--public-key", "AAAA").exit_code == 2
    assert run("verify-seals", "--expect", FIRST).exit_code == 2
    unset = run("verify-seals")
    assert unset.exit_code == 2
    assert "LOGBOX_SECRET_KEY is not set" in unset.stderr
    monkeypatch.setenv("LOGBOX_RECEIPT_PUBLIC_KEY", ours)
    assert run("verify-seals").exit_code == 0


def test_store_that_is_away_is_not_checked_and_not_wrong(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_in(site, monkeypatch)

    def away(*_: object, **__: object) -> None:
        raise TransientError("the store is away")

    monkeypatch.setattr(S3Bucket, "list_page", away)
    found = run_json("verify-seals", exit_code=3)
    assert found["wrong"] == []
    assert len(found["unchecked"]) == 1


def test_receipt_key_is_printed_for_drones_and_for_openssl(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settle_in(site, monkeypatch)
    ours = public_text(signer_of(site.settings).public_key)
    old = public_text(signer_from_secret("x" * 32).public_key)
    assert run("receipt-key").stdout == f"LOGBOX_RECEIPT_PUBLIC_KEY={ours}\n"
    monkeypatch.setenv("LOGBOX_RECEIPT_PUBLIC_KEY", f"{old},{ours}")
    assert run("receipt-key").stdout == f"LOGBOX_RECEIPT_PUBLIC_KEY={ours},{old}\n"
    assert run("receipt-key", "--pem").stdout.startswith("-----BEGIN PUBLIC KEY-----\n")
    monkeypatch.delenv("LOGBOX_SECRET_KEY")
    assert run("receipt-key", "--pem").exit_code == 2
