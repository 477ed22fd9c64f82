"""What a user would write with dlt: JSON Lines files in S3 -> one Postgres table, or Parquet files.

    python dlt_script.py FOLDER postgres|filesystem URL

Run by `peers` with the interpreter of dlt's own virtual environment, which also sets what dlt
reads from the environment. Prints the seconds of `pipeline.run`. Imports nothing of Logbox.
"""

import sys
import time


def main() -> None:
    import dlt
    from dlt.sources.filesystem import filesystem, read_jsonl

    folder, kind, url = sys.argv[1:]
    files = filesystem(bucket_url=folder, file_glob="*.jsonl") | read_jsonl(chunksize=10_000)
    destination = (
        # Its unique index on every row's id is dropped, as its documentation allows.
        dlt.destinations.postgres(url, create_indexes=False)
        if kind == "postgres"
        else dlt.destinations.filesystem(url)
    )
    pipeline = dlt.pipeline("logbox_bench", destination=destination, dataset_name="dlt_bench")
    # CSV makes dlt load by COPY, its fastest documented way into Postgres for rows that are not
    # Arrow tables yet, which 46 shapes of lines cannot become without a parser of one's own.
    file_format = "csv" if kind == "postgres" else "parquet"
    started = time.monotonic()
    pipeline.run(files.with_name("events"), loader_file_format=file_format)
    sys.stdout.write(f"{time.monotonic() - started}\n")


if __name__ == "__main__":
    main()
