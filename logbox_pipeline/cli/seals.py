"""`logbox seal`, `verify-seals`, `receipt-key`: what Logbox signs, and what checks it."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from logbox_pipeline.cli.operate import checked_site, print_line
from logbox_pipeline.cli.say import print_json, print_json_line, say
from logbox_pipeline.cli.stack import require_stack
from logbox_pipeline.core.digest import is_sha256
from logbox_pipeline.core.errors import StoreRefused, TransientError, UsageError
from logbox_pipeline.core.signing import public_keys, public_pem, public_text
from logbox_pipeline.settings import Settings, load_settings
from logbox_pipeline.steps.seal import seal_all
from logbox_pipeline.steps.signing import believed_keys, signer_of
from logbox_pipeline.steps.site import open_site
from logbox_pipeline.steps.verify_seals import SealsVerified
from logbox_pipeline.steps.verify_seals import verify_seals as verify

FOUND_WRONG, NOT_CHECKED = 1, 3

Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


def seal(as_json: Json = False) -> None:
    """Seal now what has been written since the last seals; a schedule does it every day."""
    made = seal_all(checked_site())
    for one in made:
        if as_json:
            print_json_line(asdict(one))
        else:
            print_line(f"{one.client}  seal {one.number}  {one.files} files  {one.sha256}")
    if not made:
        say("nothing was written since the last seals")


def verify_seals(
    client: Annotated[
        str | None, typer.Option("--client", help="Only this client's; _journal is the journal's.")
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option("--expect", metavar="HEAD", help="A seal's digest, out of any receipt."),
    ] = None,
    public_key: Annotated[
        list[str] | None,
        typer.Option("--public-key", help="Base64, in place of this site's; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check the seals against the archive, from S3 alone: exit 1 when wrong, 3 if not checked."""
    if expect is not None and not is_sha256(expect):
        raise UsageError(
            f"{expect!r} is no digest of a seal",
            hint="a receipt has it as `seal`, `sha256`: 64 hex digits",
        )
    settings = load_settings()
    keys = public_keys(",".join(public_key)) if public_key is not None else believed_keys(settings)
    try:
        require_stack()
        found = verify(open_site(settings).archive, keys, client=client, expect=expect)
    except (TransientError, StoreRefused) as error:
        found = SealsVerified([], [], [(settings.archive_bucket, str(error))])
    _report(found, as_json=as_json)
    if found.wrong:
        raise typer.Exit(FOUND_WRONG)
    if found.unchecked:
        raise typer.Exit(NOT_CHECKED)


def receipt_key(
    pem: Annotated[bool, typer.Option("--pem", help="As OpenSSL reads it.")] = False,
) -> None:
    """Print the public key that receipts and seals are checked by; it is no secret."""
    settings = load_settings()
    if pem:
        sys.stdout.write(public_pem(signer_of(settings).public_key))
    else:
        sys.stdout.write(f"LOGBOX_RECEIPT_PUBLIC_KEY={receipt_keys(settings)}\n")


def receipt_keys(settings: Settings) -> str:
    """What a drone is given: every public key that is believed, with commas between them."""
    return ",".join(map(public_text, believed_keys(settings)))


def _report(found: SealsVerified, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "chains": [
                    {
                        "client": chain.client,
                        "seals": chain.seals,
                        "files": chain.files,
                        "head": chain.head,
                        "key_ids": sorted(chain.key_ids),
                    }
                    for chain in found.chains
                ],
                "wrong": [asdict(one) for one in found.wrong],
                "unchecked": [{"archive_key": key, "why": why} for key, why in found.unchecked],
            }
        )
        return
    for chain in found.chains:
        print_line(
            f"{chain.client}  {chain.seals} seals  {chain.files} files  head {chain.head or 'none'}"
        )
    for one in found.wrong:
        print_line(f"{one.kind}  {one.archive_key}")
        print_line(f"    expected {one.expected}")
        print_line(f"    found    {one.found}")
    for key, why in found.unchecked:
        say(f"could not check {key}: {why}")
    if not found.wrong and not found.unchecked:
        say("every listed file is what its seal says" if found.chains else "there is no seal yet")
