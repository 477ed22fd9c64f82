"""How much work each part of the benchmark does, and how often. No measuring here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """turns: repetitions, in each of which both sides of a comparison take their turn;
    idle_turns: of what is beside nothing.
    parsing: share of the full size of what parsers read. memory_mb: sizes of single logs.
    catalogs: logs in the catalog. waiting: objects in landing."""

    turns: int = 5
    idle_turns: int = 3
    parsing: float = 1.0
    jsonl_files: int = 200
    jsonl_lines: int = 5_000
    flights: int = 8
    flight_bytes: int = 16_000_000
    script_files: int = 4
    script_bytes: int = 4_000_000
    large_files: int = 2
    large_bytes: int = 64_000_000
    small_files: int = 5_000
    memory_mb: tuple[int, ...] = (200, 1_000)
    receipts_large_files: int = 24
    receipts_small_files: int = 200
    catalogs: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    batch_files: int = 500
    waiting: tuple[int, ...] = (10_000, 100_000)
    worker_files: int = 96
    worker_flights: int = 12


FULL = Sizes()

QUICK = Sizes(
    turns=1,
    idle_turns=1,
    parsing=0.1,
    jsonl_files=20,
    flights=2,
    script_files=1,
    script_bytes=2_000_000,
    large_files=1,
    large_bytes=32_000_000,
    small_files=300,
    memory_mb=(50,),
    receipts_large_files=6,
    receipts_small_files=50,
    catalogs=(1_000, 10_000),
    batch_files=100,
    waiting=(1_000,),
    worker_files=12,
    worker_flights=3,
)
