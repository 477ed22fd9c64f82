"""Several hosts against one: the same logs through one catalog and one store, in turns."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from logbox_pipeline.benchmark.aside import Aside, site_aside
from logbox_pipeline.benchmark.hosts import Hosts
from logbox_pipeline.benchmark.workload import LogFile, make_files, make_flights, upload_files
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.steps.site import Site

CLIENT = "bench"
HOSTS = 3
TURNS = 5
BATCHES_PER_HOST = 2
PATIENCE_S = 900


@dataclass(frozen=True)
class WorkersTimes:
    """Seconds from the first run's claim to the last batch's commit, of one host and of `hosts`, in
    pairs by turn. `retries`: attempts that gave way to another load and were offered again;
    `deadlocks`: those that Postgres broke; both over all turns of `hosts`."""

    hosts: int
    files: int
    size_bytes: int
    rows: int
    batches: int
    one_s: tuple[float, ...]
    many_s: tuple[float, ...]
    retries: int
    deadlocks: int

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times as fast `hosts` were, by turn."""
        return tuple(one / many for one, many in zip(self.one_s, self.many_s, strict=True))

    @property
    def one_bytes_per_s(self) -> float:
        return self.size_bytes / median(self.one_s)

    @property
    def many_bytes_per_s(self) -> float:
        return self.size_bytes / median(self.many_s)


@dataclass(frozen=True)
class _Turn:
    seconds: float
    batches: int
    retries: int
    deadlocks: int


def measure_workers(
    site: Site,
    scratch: Path,
    *,
    files: int = 48,
    lines: int = 5_000,
    flights: int = 12,
    flight_bytes: int = 4_000_000,
    hosts: int = HOSTS,
    turns: int = TURNS,
    say: Callable[[str], None] = lambda _: None,
) -> WorkersTimes:
    """Load `files` JSON Lines logs and `flights` ULogs into a fresh site beside the site, by one
    host and by `hosts`, whoever went first last time second.

    All hosts are this machine: what they share, cores, Postgres and the store, bounds the ratio.
    Raises LogboxError when not every row was loaded once.
    """
    made = make_files(scratch / "lines", files=files, lines=lines, seed=1)
    made += make_flights(scratch / "flights", files=flights, size_bytes=flight_bytes, seed=1)
    one: list[_Turn] = []
    many: list[_Turn] = []
    for turn in range(turns):
        for number in (1, hosts) if turn % 2 else (hosts, 1):
            say(f"{number} host(s), turn {turn + 1} of {turns}")
            with site_aside(site, f"workers{number}", (CLIENT,)) as aside:
                folder = scratch / f"turn-{turn}-{number}"
                took = _load(aside, folder, made, number, hosts * BATCHES_PER_HOST)
            (one if number == 1 else many).append(took)
    return WorkersTimes(
        hosts=hosts,
        files=len(made),
        size_bytes=sum(each.size_bytes for each in made),
        rows=sum(each.rows for each in made),
        batches=many[0].batches,
        one_s=tuple(each.seconds for each in one),
        many_s=tuple(each.seconds for each in many),
        retries=sum(each.retries for each in many),
        deadlocks=sum(each.deadlocks for each in many),
    )


def _load(aside: Aside, folder: Path, made: list[LogFile], number: int, batches: int) -> _Turn:
    site = aside.site
    batch_files = -(-len(made) // batches)
    settings = site.settings.model_copy(update={"batch_files": batch_files, "batch_wait_s": 0})
    hosts = Hosts(replace(site, settings=settings), folder, number, aside.dagster_url)
    upload_files(site, made, f"landing/{CLIENT}/heron/")
    with hosts:
        hosts.work_off(patience_s=PATIENCE_S)
    with site.transaction() as cursor:
        cursor.execute(
            """
            select extract(epoch from max(loaded_at) - min(started_at))::float8, count(*),
                sum(transient_failures)::int
            from logbox.batches
            """
        )
        seconds, made_batches, retries = cursor.fetchone()
        cursor.execute(
            """
            select (select sum(telemetry_rows) from logbox.logs)::bigint + (
                select count(*)
                from logbox.log_events
                join logbox.logs using (log_id)
                where format = 'jsonl'
            )
            """
        )
        (rows,) = cursor.fetchone()
    expected = sum(each.rows for each in made)
    if rows != expected:
        raise LogboxError(f"{number} host(s) loaded {rows} rows of {expected}")
    return _Turn(seconds, made_batches, retries, hosts.deadlocks())
