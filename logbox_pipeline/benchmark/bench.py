"""What every part of the benchmark works with: a running site, scratch, sizes. No measuring."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from logbox_pipeline.adapters import databases
from logbox_pipeline.adapters.databases import database_of, with_database
from logbox_pipeline.benchmark.aside import site_aside
from logbox_pipeline.benchmark.sizes import Sizes
from logbox_pipeline.settings import required
from logbox_pipeline.steps.site import Site

CLIENT = "bench"
_SEEDS_APART = 100_000

Say = Callable[[str], None]


def _seeds() -> Iterator[int]:
    return itertools.count(1, _SEEDS_APART)


@dataclass(frozen=True)
class Bench:
    """`site` runs, with sensor and runs, for parts that go through it. tools: where peers are
    installed, kept between runs. seeds: the next gives files that no other part has."""

    site: Site
    scratch: Path
    tools: Path
    sizes: Sizes
    say: Say
    seeds: Iterator[int] = field(default_factory=_seeds)

    def landing(self, name: str) -> str:
        """Where the pipeline takes files from."""
        return f"landing/{CLIENT}/{name}/"

    def bare(self, name: str) -> str:
        """In the same bucket, where the pipeline does not look: for what is beside it."""
        return f"bare/{name}/"

    def turns(self, what: str) -> Iterator[int]:
        """The number of each repetition, as it begins."""
        for turn in range(self.sizes.turns):
            self.say(f"{what}: turn {turn + 1} of {self.sizes.turns}")
            yield turn


def add_client(site: Site) -> None:
    with site.transaction() as cursor:
        cursor.execute(
            "insert into logbox.clients values (%s, now()) on conflict do nothing", (CLIENT,)
        )


def peer_database(site: Site) -> str:
    """The URL of a fresh database for a peer beside ours, on the same server."""
    admin_url = required(site.settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    database = f"{database_of(required(site.settings.database_url, 'LOGBOX_DATABASE_URL'))}_peer"
    owner = urlsplit(admin_url).username or "postgres"
    with databases.administrator(admin_url) as cursor:
        databases.drop(cursor, database)
        databases.make(cursor, database, owner=owner, guests=())
    return with_database(admin_url, database)


@contextmanager
def own_site(bench: Bench, name: str) -> Iterator[Site]:
    """A site on the same servers with a catalog and buckets of its own, which no sensor looks at.

    name: what buckets and database may be called. Buckets go with the benchmark's stack.
    """
    with site_aside(bench.site, name, (CLIENT,), keeps_buckets=True) as aside:
        settings = aside.site.settings.model_copy(
            update={"work_dir": bench.scratch / f"work-{name}"}
        )
        yield replace(aside.site, settings=settings)
