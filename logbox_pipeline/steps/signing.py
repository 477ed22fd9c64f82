"""The keys of this site: the private one that signs, the public ones that are believed."""

from logbox_pipeline.core.errors import SettingError
from logbox_pipeline.core.signing import (
    HOW_TO_MAKE,
    Signer,
    public_keys,
    signer_from_key,
    signer_from_secret,
)
from logbox_pipeline.settings import Settings


def signer_of(settings: Settings) -> Signer:
    """The key of LOGBOX_SIGNING_KEY, or that of LOGBOX_SECRET_KEY.

    Raises SettingError when neither is set, or the one that counts is wrong.
    """
    if settings.signing_key is not None:
        return signer_from_key(settings.signing_key)
    if settings.secret_key is not None:
        return signer_from_secret(settings.secret_key)
    raise SettingError(
        "LOGBOX_SECRET_KEY is not set: receipts and seals are not signed, so there are none",
        hint=HOW_TO_MAKE,
    )


def believed_keys(settings: Settings) -> tuple[bytes, ...]:
    """Public keys whose signature counts: our own first, then those of LOGBOX_RECEIPT_PUBLIC_KEY,
    which older receipts and seals are of.

    Raises SettingError when a setting is wrong, or when there is none.
    """
    others = public_keys(settings.receipt_public_key or "")
    if others and settings.signing_key is None and settings.secret_key is None:
        return others
    own = signer_of(settings).public_key
    return (own, *(key for key in others if key != own))
