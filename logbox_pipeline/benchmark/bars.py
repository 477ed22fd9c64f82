"""What was promised of which figure, by its key: `name`, or `name@size`. No measuring.

Each is the least or the most that is good enough, as the figure itself says which way is better.
"""

MILLION = 1_000_000

BARS = {
    "parsing_ulog": 2,
    "parsing_dataflash": 15,
    "parsing_tlog": 5,
    "parsing_jsonl": 0.3,
    "parsing_csv": 0.5,
    "idle_s": 30,
    "jsonl_times_dlt": 6,
    "jsonl_memory_mib": 1_024,
    "ulog_mb_per_s": 15,
    "ulog_times_script": 5,
    "small_of_bare": 0.5,
    "large_of_server_copy": 0.5,
    "scrub_of_bare_reads": 0.8,
    "receipts_1_mb": 1.1,
    # 1.5 GB, of a log of 1,000 MB.
    "memory_ulog_mib@1000": 1_430,
    "memory_jsonl_mib@1000": 1_430,
    f"reconcile_s@{MILLION}": 60,
    # 500 MB.
    f"reconcile_mib@{MILLION}": 476,
    f"tick_s@{MILLION}": 1,
    f"batch_growth@{MILLION}": 1.2,
    # Dagster ends a sensor that takes longer.
    "waiting_tick_s@100000": 60,
}
