"""The two indexes on how logs begin find every pair that may grow, and no other."""

import hashlib
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from uuid import UUID, uuid5

from psycopg2 import Binary

from logbox_pipeline.adapters import catalog_growth
from logbox_pipeline.core.growth import Beginning, beginning
from logbox_pipeline.steps.site import Site

AT = datetime(2026, 11, 1, tzinfo=UTC)
NAMES = UUID("7c0f7d5e-4a0a-4f6e-9d0e-1f3f0a6d0c11")
SIZES = (1, 15, 16, 63, 64, 65, 1_023, 1_024, 1_025, 16_383, 16_384, 20_000)
PLACES = (("acme", None), ("acme", "heron"), ("acme", "kite"), ("beta", "heron"))


@dataclass(frozen=True)
class Made:
    log_id: UUID
    place: tuple[str, str | None]
    size_bytes: int
    begins: Beginning


def made_logs() -> list[Made]:
    """At each place logs that are cut from the same bytes, and from bytes that differ later."""
    data = bytes(random.Random(1).randrange(256) for _ in range(20_000))
    later = data[:1_100] + b"\0" * 18_900
    never = b"\xff" * 20_000
    logs = []
    for place, (name, whole), size in product(
        PLACES, (("data", data), ("later", later), ("never", never)), SIZES
    ):
        cut = whole[:size]
        log_id = uuid5(NAMES, f"{place} {name} {size}")
        begins = beginning(size, lambda start, length, cut=cut: cut[start : start + length])  # type: ignore[misc]
        logs.append(Made(log_id, place, size, begins))
    return logs


def insert(site: Site, logs: list[Made]) -> None:
    with site.transaction() as cursor:
        for one in logs:
            sha256 = hashlib.sha256(one.log_id.bytes).hexdigest()
            client, vehicle = one.place
            cursor.execute(
                """
                insert into logbox.deliveries (
                    delivery_id, bucket, landing_key, etag, received_at, client, vehicle, name,
                    size_bytes, sensed_at
                )
                values (%s, 'b', %s, '', %s, %s, %s, 'n', %s, %s)
                """,
                (str(one.log_id), str(one.log_id), AT, client, vehicle, one.size_bytes, AT),
            )
            cursor.execute(
                """
                insert into logbox.logs (
                    log_id, client, vehicle, content_sha256, delivery_id, received_at, received_on,
                    size_bytes, head, marks
                )
                values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::bigint[])
                """,
                (
                    str(one.log_id), client, vehicle, sha256, str(one.log_id), AT, AT.date(),
                    one.size_bytes, Binary(one.begins.head), list(one.begins.marks),
                ),
            )  # fmt: skip


def may_grow(shorter: Made, longer: Made) -> bool:
    head, marks = shorter.begins.head, shorter.begins.marks
    return (
        shorter.place == longer.place
        and shorter.size_bytes < longer.size_bytes
        and longer.begins.head[: len(head)] == head
        and longer.begins.marks[: len(marks)] == marks
    )


def test_pairs_are_those_of_which_one_may_begin_with_the_other(site: Site) -> None:
    logs = made_logs()
    insert(site, logs)
    chance = random.Random(2)
    for count in (1, 7, len(logs)):
        mine = {one.log_id for one in chance.sample(logs, count)}
        expected = {
            (shorter.log_id, longer.log_id)
            for shorter, longer in product(logs, logs)
            if may_grow(shorter, longer) and {shorter.log_id, longer.log_id} & mine
        }
        with site.transaction() as cursor:
            found = [pair.ids for pair in catalog_growth.pairs(cursor, mine)]
        assert sorted(found) == sorted(expected)
    assert expected
