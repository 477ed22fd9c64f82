"""After the storm: wait until all is settled, and find what differs from what must be.

Nothing here mends anything; but for the wait, it only looks.
"""

import time
from collections.abc import Callable
from pathlib import Path

import psycopg2

from logbox_pipeline.adapters.s3 import S3Bucket, s3_client
from logbox_pipeline_tests.chaos.ground import Ground

SETTLES_S = 600.0
"""Within so long after the last fault all must be settled: a batch that met several of them waits
for up to 300 s before it is offered again, a single file after its seventh failed request for 320 s
(core/batching.py)."""

_UNSETTLED = {
    "batches at work": "select count(*) from logbox.batches "
    "where state in ('open', 'running', 'loaded')",
    "deliveries at work": "select count(*) from logbox.deliveries "
    "where state in ('received', 'waiting', 'verified')",
    "objects that have not left landing": "select count(*) from logbox.deliveries "
    "where left_landing_at is null and state in ('archived', 'duplicate', 'quarantined')",
    "things to be told": "select count(*) from logbox.outbox",
    "archived objects to be replicated": "select count(*) from logbox.objects "
    "where archived_at is not null and replicated_at is null",
    # One that a killed process was about to put is looked for by the sensor some time later.
    "manifests to be replicated": "select count(*) from logbox.manifests "
    "where written_at is not null and replicated_at is null",
    "planned files of the lake": "select count(*) from logbox.lake_files where state = 'planned'",
}
_WRONG = {
    "failed batches": "select batch_id::text || ': ' || coalesce(last_error, '') "
    "from logbox.batches where state = 'failed'",
    "failed deliveries": "select landing_key || ': ' || coalesce(detail, '') "
    "from logbox.deliveries where state = 'failed'",
    "logs that a parser's death made unreadable": "select log_id::text || ': ' || detail "
    "from logbox.logs where reason in ('parser_failed', 'parser_timeout')",
    "drifts": "select kind || ' ' || place || ' ' || subject || ': expected ' "
    "|| coalesce(expected, '') || ', found ' || coalesce(found, '') "
    "from logbox.drifts where resolved_at is null",
}
_RUNS = "select count(*) from runs where status in ('STARTED', 'STARTING', 'CANCELING')"


def unsettled(ground: Ground) -> list[str]:
    """What is still under way, in words; empty: nothing."""
    try:
        found = [f"{absent} does not run" for absent in ground.absent()]
        for what, query in _UNSETTLED.items():
            if count := ground.rows(query)[0][0]:
                found.append(f"{count} {what}")
        with ground.cursor("LOGBOX_DAGSTER_DATABASE_URL") as cursor:
            cursor.execute(_RUNS)
            if count := cursor.fetchone()[0]:
                found.append(f"{count} runs that Dagster takes for started")
    except psycopg2.Error as error:
        return [f"Postgres does not answer: {error}"]
    return found


def wait_until_settled(
    ground: Ground, say: Callable[[str], None], *, since: float
) -> tuple[float, list[str]]:
    """(seconds it took, what is not settled even after SETTLES_S). `since` is monotonic."""
    started = told_at = since
    calm_since: float | None = None
    while True:
        now = time.monotonic()
        left = unsettled(ground)
        if left:
            calm_since = None
        elif calm_since is None:
            calm_since = now
        # A moment of calm may be the gap before the sensor's next look.
        elif now - calm_since > 15:
            return calm_since - started, []
        if left and now - started > SETTLES_S:
            return now - started, left
        if now - told_at > 30:
            told_at = now
            say(f"not settled: {'; '.join(left) or 'almost'}")
        time.sleep(1)


def differences(ground: Ground, ledger: Path) -> list[str]:
    """What is not as it must be; empty when all is."""
    found = []
    checked = ground.logbox("simulate", "--check", "--ledger", str(ledger))
    if checked.returncode != 0:
        found.append(f"simulate --check: {_end(checked)}")
    # Twice: the first resolves what a comparison in the storm has found.
    compared = ground.logbox("reconcile", "--every-byte")
    if compared.returncode != 0:
        found.append(f"reconcile --every-byte: {_end(compared)}")
    compared = ground.logbox("reconcile", "--deep")
    if compared.returncode != 0:
        found.append(f"reconcile --deep: {_end(compared)}")
    for what, query in _WRONG.items():
        found += [f"{what}: {text}" for (text,) in ground.rows(query)]
    found += orphans(ground)
    return found


def orphans(ground: Ground) -> list[str]:
    """Files of the lake that no row knows, and rows without a file."""
    values = ground.values()
    client = s3_client(
        endpoint=values["LOGBOX_S3_ENDPOINT"],
        region=values["LOGBOX_S3_REGION"],
        access_key_id=values["LOGBOX_S3_ACCESS_KEY_ID"],
        secret_access_key=values["LOGBOX_S3_SECRET_ACCESS_KEY"],
    )
    stand = {one.key for one in S3Bucket(client, "logbox-lake").list_all("lake/")}
    known = {
        key for (key,) in ground.rows("select lake_key from logbox.lake_files where state = 'live'")
    }
    return [f"an orphan in the lake: {key}" for key in sorted(stand - known)] + [
        f"missing in the lake: {key}" for key in sorted(known - stand)
    ]


def _end(done: object) -> str:
    text = f"{getattr(done, 'stdout', '')}\n{getattr(done, 'stderr', '')}".strip()
    return text[-3000:]
