"""Send logs on their journey in a test, and take down all that came out. No test here."""

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq

from logbox_pipeline.steps.ingest import StepReport, ingest_offered
from logbox_pipeline.steps.sense import Tick, sense
from logbox_pipeline.steps.site import Site


def upload(
    site: Site, key: str, data: bytes, *, declare: bool = True, **metadata: str
) -> None:
    """Put an object into landing as a drone does: with its digest, unless `declare` is False."""
    if declare:
        metadata = {"sha256": hashlib.sha256(data).hexdigest()} | metadata
    site.landing.client.put_object(
        Bucket=site.landing.bucket, Key=key, Body=data, Metadata=metadata
    )


def with_settings(site: Site, **changes: Any) -> Site:
    return replace(site, settings=site.settings.model_copy(update=changes))


def tick(site: Site, run_states: Mapping[str, Any] | None = None) -> Tick:
    """One look at landing, as the sensor takes it."""
    return sense(site, hint={}, run_states=lambda _: run_states or {})


def ingest_all(site: Site) -> list[StepReport]:
    """Sense and ingest until nothing is offered, as sensor and runs do."""
    reports: list[StepReport] = []
    while offered := tick(site).offered:
        for batch in offered:
            reports += ingest_offered(site, batch.run_key, f"run-{batch.run_key}")
    return reports


def rows(site: Site, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with site.transaction() as cursor:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())


def one(site: Site, query: str, *values: Any) -> Any:
    """The only value of the only row."""
    ((value,),) = rows(site, query, *values)
    return value


def deliveries(site: Site) -> dict[str, tuple[str, str | None]]:
    """(state, reason) by key below landing/; keys that arrived twice would hide each other."""
    found = rows(site, "select landing_key, state, reason from logbox.deliveries")
    by_key = {key.removeprefix("landing/"): (state, reason) for key, state, reason in found}
    assert len(by_key) == len(found)
    return by_key
