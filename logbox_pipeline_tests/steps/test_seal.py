"""Seals bind every manifest: what is changed afterwards is found, by Logbox and by coreutils."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from logbox_pipeline.adapters import catalog_seals
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core import seal
from logbox_pipeline.core.digest import sha256_hex
from logbox_pipeline.core.errors import PermanentError, SettingError, TransientError
from logbox_pipeline.core.ports import StoredObject
from logbox_pipeline.core.receipt import read_receipt
from logbox_pipeline.core.reconciliation import DriftKind, Place
from logbox_pipeline.core.signing import public_pem, signer_from_secret
from logbox_pipeline.steps.seal import Sealed, adopt_seals, seal_all
from logbox_pipeline.steps.signing import believed_keys, signer_of
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify_seals import SealsVerified, Wrong, seal_drifts, verify_seals
from logbox_pipeline_tests.journey import (
    change,
    ingest_all,
    jsonl,
    keys_in,
    one,
    rows,
    upload,
    with_settings,
)

MISSING, MISMATCH = DriftKind.MISSING, DriftKind.MISMATCH
FIRST, SECOND = "archive/seals/acme/000001.sha256", "archive/seals/acme/000002.sha256"


def write(site: Site, name: str, body: bytes = b"{}\n", client: str | None = "acme") -> str:
    """A manifest, or with client None an entry of the journal, as the pipeline writes them."""
    folder = "archive/journal" if client is None else f"archive/manifests/{client}"
    key = f"{folder}/{name}"
    site.archive.put_bytes(key, body)
    change(
        site,
        """
        insert into logbox.manifests
            (archive_key, client, kind, sha256, size_bytes, planned_at, written_at)
        values (%s, %s, %s, %s, %s, now(), now())
        on conflict do nothing
        """,
        key,
        client,
        "journal" if client is None else "intake",
        sha256_hex(body),
        len(body),
    )
    return key


def verified(site: Site, **asked: Any) -> SealsVerified:
    return verify_seals(site.archive, believed_keys(site.settings), **asked)


def text(site: Site, key: str) -> str:
    read = site.archive.read(key)
    assert read is not None
    return read[0].decode()


def test_each_chain_has_what_was_written_since_its_last_seal(site: Site) -> None:
    later = write(site, "b.jsonl", b"b")
    earlier = write(site, "a.jsonl", b"a")
    write(site, "x.jsonl", b"x", client="beta")
    entry = write(site, "2026-11-29/1.json", b"j", client=None)
    made = seal_all(site)
    assert [(each.client, each.number, each.files) for each in made] == [
        ("_journal", 1, 1),
        ("acme", 1, 2),
        ("beta", 1, 1),
    ]
    first = text(site, FIRST)
    assert first == f"{sha256_hex(b'a')}  {earlier}\n{sha256_hex(b'b')}  {later}\n"
    assert text(site, "archive/seals/_journal/000001.sha256") == f"{sha256_hex(b'j')}  {entry}\n"
    assert seal_all(site) == []
    # What is not written yet waits for a later seal.
    write(site, "planned.jsonl")
    change(site, "update logbox.manifests set written_at = null where archive_key like '%planned%'")
    assert seal_all(site) == []
    new = write(site, "c.jsonl", b"c")
    (made_next,) = seal_all(site)
    assert text(site, SECOND) == (
        f"{sha256_hex(first.encode())}  {FIRST}\n{sha256_hex(b'c')}  {new}\n"
    )
    assert made_next == Sealed("acme", 2, sha256_hex(text(site, SECOND).encode()), 1)
    assert rows(
        site,
        "select number, sha256, previous_sha256, files from logbox.seals where client = 'acme' "
        "order by number",
    ) == [(1, made[1].sha256, None, 2), (2, made_next.sha256, made[1].sha256, 1)]
    assert one(site, "select sealed_by from logbox.manifests where archive_key = %s", new) == SECOND
    # A seal and its signature are replicated like anything else the archive tells of itself by.
    assert rows(
        site,
        "select archive_key, sealed_by from logbox.manifests where kind = 'seal' "
        "and client = 'acme' order by 1",
    ) == [(key, None) for seal in (FIRST, SECOND) for key in (seal, f"{seal}.sig")]
    assert seal_drifts(site, rereads_files=True) == (5, [])
    found = verified(site)
    assert (found.wrong, found.unchecked) == ([], [])
    assert [(chain.client, chain.seals, chain.files) for chain in found.chains] == [
        ("_journal", 1, 1),
        ("acme", 2, 3),
        ("beta", 1, 1),
    ]


def test_more_files_than_one_seal_takes_are_several_seals(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logbox_pipeline.steps.seal.MOST_FILES", 2)
    for name in "abcde":
        write(site, name)
    assert [(made.number, made.files) for made in seal_all(site)] == [(1, 2), (2, 2), (3, 1)]
    assert verified(site).wrong == []


def test_receipt_carries_the_newest_head_of_its_client(site: Site) -> None:
    write(site, "a.jsonl")
    write(site, "a.jsonl", client="beta")
    seal_all(site)
    write(site, "b.jsonl")
    head = seal_all(site)[-1]
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    ingest_all(site)
    read = site.landing.read("receipts/acme/d1/a.jsonl.json")
    assert read is not None
    told = read_receipt(read[0], believed_keys(site.settings))
    assert told is not None
    assert told["seal"] == {"number": 2, "sha256": head.sha256}


def test_readmes_check_with_coreutils_and_openssl_finds_an_edited_manifest(
    site: Site, tmp_path: Path
) -> None:
    edited = write(site, "a.jsonl", b'{"state":"archived"}\n')
    seal_all(site)
    write(site, "b.jsonl")
    seal_all(site)
    copy = tmp_path / "copy"
    for stored in site.archive.list_all("archive/"):
        path = copy / stored.key
        path.parent.mkdir(parents=True, exist_ok=True)
        site.archive.download(stored.key, path)
    (tmp_path / "public.pem").write_text(public_pem(signer_of(site.settings).public_key))
    assert wrong_by_readme(tmp_path) == []
    (copy / edited).write_bytes(b'{"state":"quarantined"}\n')
    assert wrong_by_readme(tmp_path) == [FIRST]
    # A list that is made to fit is not the one that was signed, nor the one the next list names.
    (copy / FIRST).write_text(f"{sha256_hex((copy / edited).read_bytes())}  {edited}\n")
    assert wrong_by_readme(tmp_path) == [FIRST, SECOND]


def wrong_by_readme(folder: Path) -> list[str]:
    """Run README's lines on a copy that stands there already; what they call wrong."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (block,) = (
        each
        for each in re.findall(r"^```sh\n(.*?)^```$", readme, re.M | re.S)
        if "sha256sum -" in each
    )
    stand_ins = "aws() { :; }\nlogbox() { cat public.pem; }\n"
    done = subprocess.run(
        ["bash", "-c", stand_ins + block],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return sorted(set(re.findall(r"^WRONG: (\S+)$", done.stdout, re.MULTILINE)))


def test_every_kind_of_tampering_is_named(site: Site) -> None:
    files = [write(site, f"{name}.jsonl", name.encode()) for name in "abc"]
    seal_all(site)
    write(site, "d.jsonl")
    seal_all(site)
    site.archive.put_bytes(files[0], b"A")
    site.archive.delete(files[1])
    assert verified(site).wrong == [
        Wrong(MISMATCH, files[0], sha256_hex(b"a"), sha256_hex(b"A")),
        Wrong(MISSING, files[1], sha256_hex(b"b"), "missing"),
    ]
    seen, drifts = seal_drifts(site, rereads_files=True)
    assert seen == 4
    assert [(one.kind, one.place, one.subject) for one in drifts] == [
        (MISMATCH, Place.SEALS, files[0]),
        (MISSING, Place.SEALS, files[1]),
    ]
    assert seal_drifts(site, rereads_files=False) == (4, [])
    site.archive.put_bytes(files[0], b"a")
    site.archive.put_bytes(files[1], b"b")
    assert verified(site).wrong == []

    list_ = text(site, FIRST)
    shorter = "".join(list_.splitlines(keepends=True)[:2])
    site.archive.put_bytes(FIRST, shorter.encode())
    key = signer_of(site.settings).key_id
    assert verified(site).wrong == [
        Wrong(
            MISMATCH,
            f"{FIRST}.sig",
            f"a signature of {key} over {FIRST}",
            "a signature of other bytes, or by another key",
        ),
        Wrong(MISMATCH, FIRST, sha256_hex(list_.encode()), sha256_hex(shorter.encode())),
    ]
    site.archive.delete(FIRST)
    site.archive.delete(f"{FIRST}.sig")
    assert verified(site).wrong == [Wrong(MISSING, FIRST, f"a seal before {SECOND}", "missing")]
    site.archive.put_bytes(FIRST, b"not a list\n")
    assert [each.archive_key for each in verified(site).wrong] == [
        f"{FIRST}.sig",
        FIRST,
        FIRST,
    ]
    site.archive.put_bytes("archive/seals/acme/1.sha256", b"")
    assert verified(site).wrong[0].archive_key == "archive/seals/acme/1.sha256"


def test_whoever_rewrites_both_stores_is_found_by_an_old_receipts_head(site: Site) -> None:
    edited = write(site, "a.jsonl", b"the truth")
    write(site, "b.jsonl")
    (head,) = seal_all(site)
    assert verified(site, expect=head.sha256).wrong == []
    # They have every right and the key: manifest, catalog and chain are made anew, and agree.
    site.archive.put_bytes(edited, b"what they would like")
    for key in (FIRST, f"{FIRST}.sig"):
        site.archive.delete(key)
    change(site, "delete from logbox.seals")
    change(site, "delete from logbox.manifests where kind = 'seal'")
    change(
        site,
        "update logbox.manifests set sealed_by = null, "
        "sha256 = case archive_key when %s then %s else sha256 end",
        edited,
        sha256_hex(b"what they would like"),
    )
    seal_all(site)
    assert verified(site).wrong == []
    assert verified(site, expect=head.sha256).wrong == [
        Wrong(MISSING, "archive/seals/", f"a seal {head.sha256}", "no seal has that digest")
    ]


def test_seal_of_an_attempt_that_died_uncommitted_is_taken_over(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(site, "a.jsonl")
    with monkeypatch.context() as patched:
        patched.setattr(catalog_seals, "record_seal", dies)
        with pytest.raises(TransientError):
            seal_all(site)
    dead = text(site, FIRST)
    write(site, "b.jsonl")
    assert [(made.number, made.files) for made in seal_all(site)] == [(1, 1), (2, 1)]
    assert text(site, FIRST) == dead
    assert verified(site).wrong == []
    assert one(site, "select count(*) from logbox.drifts") == 0


def test_signature_whose_attempt_died_before_its_list_says_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(site, "a.jsonl")
    with monkeypatch.context() as patched:
        patched.setattr(S3Bucket, "put_new", dies)
        with pytest.raises(TransientError):
            seal_all(site)
    assert keys_in(site.archive, "archive/seals/") == [f"{FIRST}.sig"]
    assert verified(site).wrong == []
    write(site, "b.jsonl")
    assert [(made.number, made.files) for made in seal_all(site)] == [(1, 2)]
    assert verified(site).wrong == []


def test_list_that_was_never_ours_is_drift_and_does_not_keep_us_from_sealing(site: Site) -> None:
    write(site, "a.jsonl")
    site.archive.put_bytes(FIRST, f"{'0' * 64}  archive/manifests/acme/a.jsonl\n".encode())
    forger = signer_from_secret("a secret of somebody else, who is not us")
    site.archive.put_bytes(f"{FIRST}.sig", forger.sign(text(site, FIRST).encode()))
    assert [made.number for made in seal_all(site)] == [1]
    assert verified(site).wrong == []
    assert rows(site, "select kind, place, subject from logbox.drifts") == [
        ("mismatch", "seals", FIRST)
    ]


def test_signed_seal_that_does_not_fit_is_never_written_over(site: Site) -> None:
    write(site, "a.jsonl", b"a")
    # As after a restore of an older catalog, and a manifest that is gone from the archive too.
    lost = seal.render(seal.Seal("acme", 1, None, {"archive/manifests/acme/gone": "0" * 64}))
    site.archive.put_bytes(FIRST, lost)
    site.archive.put_bytes(f"{FIRST}.sig", signer_of(site.settings).sign(lost))
    write(site, "a.jsonl", client="beta")
    with pytest.raises(PermanentError, match="does not go on from seal 0"):
        seal_all(site)
    assert text(site, FIRST).encode() == lost
    assert one(site, "select found from logbox.drifts").endswith("signed by Logbox")
    # The other client's chain went on.
    assert rows(site, "select client from logbox.seals") == [("beta",)]


def test_restored_catalog_takes_over_seals_of_what_it_has_forgotten(site: Site) -> None:
    write(site, "a.jsonl")
    write(site, "b.jsonl")
    (head,) = seal_all(site)
    change(site, "delete from logbox.seals")
    change(site, "delete from logbox.manifests where kind = 'seal' or archive_key like '%/b.jsonl'")
    change(site, "update logbox.manifests set sealed_by = null")
    assert seal_all(site) == [head]
    assert seal_all(site) == []


def test_rebuilt_catalog_has_every_seal_as_it_was_and_no_new_one(site: Site) -> None:
    for name in "abc":
        write(site, name)
        write(site, name, client=None)
        seal_all(site)
    write(site, "d")
    query = """
        select s.*, m.sealed_by, m.planned_at, m.written_at, m.sha256
        from logbox.seals s
        join logbox.manifests m using (archive_key)
        order by 1
    """
    sealed = "select archive_key, sealed_by from logbox.manifests where kind <> 'seal' order by 1"
    before = rows(site, query), rows(site, sealed)
    change(site, "delete from logbox.seals")
    change(site, "delete from logbox.manifests where kind = 'seal'")
    change(site, "update logbox.manifests set sealed_by = null")
    assert len(adopt_seals(site)) == 6
    assert (rows(site, query), rows(site, sealed)) == before
    assert adopt_seals(site) == []
    assert [made.number for made in seal_all(site)] == [4]


def test_seals_of_an_earlier_key_count_while_its_public_half_is_known(site: Site) -> None:
    write(site, "a.jsonl")
    seal_all(site)
    old = believed_keys(site.settings)
    rotated = with_settings(site, secret_key="another secret, with 32 characters or more")
    write(site, "b.jsonl")
    seal_all(rotated)
    assert [each.archive_key for each in verified(rotated).wrong] == [f"{FIRST}.sig"]
    keys_of_both = (*believed_keys(rotated.settings), *old)
    found = verify_seals(site.archive, keys_of_both)
    assert found.wrong == []
    assert len(found.chains[0].key_ids) == 2


def test_what_cannot_be_read_is_not_called_wrong(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = write(site, "a.jsonl")
    (head,) = seal_all(site)
    chunks = S3Bucket.chunks

    def failing(bucket: S3Bucket, key: str, **asked: Any) -> Any:
        if key in unreadable:
            raise TransientError("the store is away")
        return chunks(bucket, key, **asked)

    monkeypatch.setattr(S3Bucket, "chunks", failing)
    unreadable = {away}
    found = verified(site, expect=head.sha256)
    assert (found.wrong, found.unchecked) == ([], [(away, "the store is away")])
    unreadable = {FIRST}
    found = verified(site, expect=head.sha256)
    assert found.wrong == []
    assert [key for key, _ in found.unchecked] == [FIRST, "archive/seals/"]


def test_without_a_secret_nothing_is_sealed_and_the_setting_is_named(site: Site) -> None:
    write(site, "a.jsonl")
    with pytest.raises(SettingError, match="LOGBOX_SECRET_KEY is not set"):
        seal_all(with_settings(site, secret_key=None))
    assert keys_in(site.archive, "archive/seals/") == []


def dies(*_: Any, **__: Any) -> StoredObject:
    raise TransientError("killed")
