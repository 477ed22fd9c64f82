"""What integrity costs: the scrub beside bare reads, receipts beside none."""

from collections.abc import Iterator

from logbox_pipeline.benchmark.bench import Bench, own_site
from logbox_pipeline.benchmark.measured import Measured, higher, lower
from logbox_pipeline.benchmark.receipts import ingest_s, measure_receipts
from logbox_pipeline.benchmark.reconcile import measure_scrub
from logbox_pipeline.benchmark.workload import make_flights


def measure_integrity(bench: Bench) -> Iterator[Measured]:
    """On a site of its own: neither what it holds nor who else works there changes a figure."""
    sizes = bench.sizes
    with own_site(bench, "integrity") as site:
        folder = bench.scratch / "integrity"
        made = make_flights(
            folder, files=sizes.flights, size_bytes=sizes.flight_bytes, seed=next(bench.seeds)
        )
        ingest_s(site, made, bench.landing("flights"))
        bench.say("scrub, and bare reads of the same bytes")
        scrubbed = measure_scrub(site, sizes.turns)
        yield higher(
            "scrub_mb_per_s",
            "the scrub, reading everything again",
            "MB/s",
            [rate / 1e6 for rate in scrubbed.scrub_bytes_per_s],
        )
        yield higher(
            "scrub_of_bare_reads",
            "the scrub, reading everything again",
            "of the rate",
            scrubbed.shares,
            beside="GET and SHA-256 of the same bytes",
        )
        for name, files, size_bytes, size in (
            ("1_mb", sizes.receipts_large_files, 1_500_000, "1.5 MB"),
            ("20_kb", sizes.receipts_small_files, 20_000, "20 KB"),
        ):
            bench.say(f"receipts of {files} logs of {size}")
            ratios = measure_receipts(
                site,
                folder / name,
                bench.landing(f"receipts-{name}"),
                files=files,
                size_bytes=size_bytes,
                turns=sizes.turns,
                seed=next(bench.seeds),
            )
            yield lower(
                f"receipts_{name}",
                f"ingest of {files} ULogs of {size} with receipts",
                "times",
                ratios,
                beside="the same without",
            )
