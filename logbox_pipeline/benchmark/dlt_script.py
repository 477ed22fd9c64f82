"""What a user would write with dlt: JSON Lines files in a folder -> one Postgres table.

Run by `peers` with the interpreter of dlt's own venv: arguments are the folder and the database
URL. Prints the seconds of `pipeline.run`. Imports nothing of Logbox.
"""

import sys
import time


def main() -> None:
    import dlt
    from dlt.sources.filesystem import filesystem, read_jsonl

    folder, url = sys.argv[1:]
    files = filesystem(bucket_url=folder, file_glob="*.jsonl") | read_jsonl(chunksize=10_000)
    pipeline = dlt.pipeline(
        "logbox_bench", destination=dlt.destinations.postgres(url), dataset_name="dlt_bench"
    )
    started = time.monotonic()
    # CSV makes dlt load by COPY, its fastest documented way into Postgres.
    pipeline.run(files.with_name("events"), loader_file_format="csv")
    sys.stdout.write(f"{time.monotonic() - started}\n")


if __name__ == "__main__":
    main()
