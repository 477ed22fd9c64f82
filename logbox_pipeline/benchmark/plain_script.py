"""What a competent user would write instead: pyulog -> pandas -> COPY csv. Run as a script.

    python plain_script.py DATABASE_URL BUCKET PREFIX

Takes every ULog below PREFIX from S3 (endpoint, region and key from the environment, as boto3
reads them) into a table per topic with an index by log and time, as Logbox has it, one transaction
per log, and prints the seconds it took.
"""

import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import psycopg2
from psycopg2 import sql
from pyulog import ULog

_TYPES = {"i": "bigint", "u": "bigint", "f": "double precision", "b": "boolean"}


def main(database_url: str, bucket: str, prefix: str) -> None:
    s3 = boto3.client("s3")
    started = time.perf_counter()
    with psycopg2.connect(database_url) as connection, tempfile.TemporaryDirectory() as folder:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for one in page.get("Contents", []):
                path = Path(folder) / "log.ulg"
                s3.download_file(bucket, one["Key"], str(path))
                load(connection, path, one["Key"])
                connection.commit()
    sys.stdout.write(f"{time.perf_counter() - started}\n")


def load(connection: Any, path: Path, name: str) -> None:
    with connection.cursor() as cursor:
        for topic in ULog(str(path)).data_list:
            frame = pd.DataFrame(topic.data)
            frame.insert(0, "log", name)
            frame.insert(1, "instance", topic.multi_id)
            table = sql.Identifier(topic.name)
            columns = sql.SQL(", ").join(
                sql.SQL("{} {}").format(
                    sql.Identifier(column), sql.SQL(_TYPES.get(kind.kind, "text"))
                )
                for column, kind in frame.dtypes.items()
            )
            cursor.execute(sql.SQL("create table if not exists {} ({})").format(table, columns))
            cursor.execute(
                sql.SQL("create index if not exists {} on {} (log, timestamp)").format(
                    sql.Identifier(f"{topic.name}_log"), table
                )
            )
            rows = io.StringIO()
            frame.to_csv(rows, index=False, header=False)
            rows.seek(0)
            cursor.copy_expert(sql.SQL("copy {} from stdin csv").format(table), rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
