"""Tell people of a failed run: one Slack-compatible message to the webhook."""

import json
import urllib.error
import urllib.request
from uuid import UUID

from logbox_pipeline.adapters import catalog_batches, catalog_deliveries
from logbox_pipeline.core.errors import LogboxError, TransientError
from logbox_pipeline.core.shown import one_line, printable
from logbox_pipeline.steps.site import Site

TIMEOUT_S = 10
_FILES_SHOWN = 10


def alert_of_failure(
    site: Site, *, job: str, run_id: str, batch_id: str | None, error: str
) -> None:
    """Post job, run, batch, files, error and the next command; of a file whose store fails for it,
    the first few times: it is tried for ever.

    Raises TransientError when the webhook does not take it.
    """
    url = site.settings.alert_webhook_url
    if not url or (batch_id and _is_known(site, batch_id)):
        return
    lines = [f":rotating_light: Logbox: run `{run_id}` of `{job}` failed."]
    if batch_id:
        lines += [f"batch `{batch_id}`", *_files(site, batch_id)]
    lines += [
        f"```{_harmless(error[:1_500])}```",
        "next: `logbox status`; what failed is offered again by itself",
    ]
    request = urllib.request.Request(  # noqa: S310 - the operator's own setting
        url,
        data=json.dumps({"text": "\n".join(lines)}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310 - as above
            return
    except (urllib.error.URLError, TimeoutError, ValueError) as failed:
        raise TransientError(
            f"the webhook of LOGBOX_ALERT_WEBHOOK_URL did not take the alert: {failed}",
            hint="correct LOGBOX_ALERT_WEBHOOK_URL",
        ) from failed


def _is_known(site: Site, batch_id: str) -> bool:
    try:
        with site.transaction() as cursor:
            return catalog_batches.is_held_up_alone(cursor, UUID(batch_id))
    except LogboxError:
        return False


def _files(site: Site, batch_id: str) -> list[str]:
    try:
        with site.transaction() as cursor:
            deliveries = catalog_deliveries.of_batch(cursor, UUID(batch_id))
    except LogboxError as error:
        return [f"(its files are unknown for now: {error.message})"]
    named = [
        f"• {one.client} `{_harmless(one_line(one.landing_key))}` {one.state}"
        for one in deliveries[:_FILES_SHOWN]
    ]
    rest = len(deliveries) - len(named)
    return [f"{len(deliveries)} file(s):", *named, *([f"and {rest} more"] if rest else [])]


def _harmless(text: str) -> str:
    """What a drone wrote, without the characters that Slack reads as markup, and without those that
    no one can see."""
    escaped = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("`", "'")
