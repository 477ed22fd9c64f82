"""What a competent user would write instead: boto3, pyulog or pymavlink, pandas. Run as a script.

    python plain_script.py DATABASE_URL LANDING_BUCKET ARCHIVE_BUCKET LAKE_BUCKET PREFIX [--lean]

Takes every log below PREFIX (endpoint, region and key of S3 from the environment, as boto3 reads
them) and does the user's whole job, one log after the other: download it, check the SHA-256 that
its metadata declares, copy the original to the archive bucket, parse it, put a Parquet file per
topic into the lake, COPY a table per topic with an index by log and time, as Logbox's have, in
one transaction, and delete it from landing. With --lean: download, parse, COPY, nothing else.
Prints the seconds it took. Crashes in the middle, duplicates and damaged logs are left to its user.
"""

import hashlib
import io
import sys
import tempfile
import time
from array import array
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import psycopg2
from psycopg2 import sql
from pymavlink import mavutil
from pyulog import ULog

_TYPES = {"i": "bigint", "u": "bigint", "f": "double precision", "b": "boolean"}
_LARGEST_BIGINT = 2**63 - 1


def main(
    database_url: str, landing: str, archive: str, lake: str, prefix: str, lean: str = ""
) -> None:
    s3 = boto3.client("s3")
    started = time.perf_counter()
    with psycopg2.connect(database_url) as connection, tempfile.TemporaryDirectory() as folder:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=landing, Prefix=prefix):
            for one in page.get("Contents", []):
                key = one["Key"]
                path = Path(folder) / Path(key).name
                if lean:
                    s3.download_file(landing, key, str(path))
                else:
                    download_and_check(s3, landing, key, path)
                    s3.copy_object(
                        Bucket=archive, Key=key, CopySource={"Bucket": landing, "Key": key}
                    )
                for name, instance, frame in frames(path):
                    # Formats have topics of the same name.
                    topic = f"{path.suffix[1:]}_{name}"
                    frame.insert(0, "log", key)
                    frame.insert(1, "instance", instance)
                    if not lean:
                        put_parquet(s3, lake, f"{prefix}{topic}/{path.stem}-{instance}", frame)
                    copy(connection, topic, frame)
                connection.commit()
                if not lean:
                    s3.delete_object(Bucket=landing, Key=key)
                path.unlink()
    sys.stdout.write(f"{time.perf_counter() - started}\n")


def download_and_check(s3: Any, bucket: str, key: str, path: Path) -> None:
    answer = s3.get_object(Bucket=bucket, Key=key)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in answer["Body"].iter_chunks(1024 * 1024):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != answer["Metadata"]["sha256"]:
        raise ValueError(f"{key} is not what was declared")


def frames(path: Path) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """(topic, instance, its rows by column `timestamp` and the log's own fields)."""
    if path.suffix != ".ulg":
        yield from mavlink_frames(path)
        return
    for topic in ULog(str(path)).data_list:
        yield topic.name, topic.multi_id, pd.DataFrame(topic.data)


def mavlink_frames(path: Path) -> Iterator[tuple[str, int, pd.DataFrame]]:
    log = mavutil.mavlink_connection(str(path))
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    while (message := log.recv_msg()) is not None:
        kind = message.get_type()
        if kind in ("BAD_DATA", "FMT"):
            continue
        fields = message.to_dict()
        del fields["mavpackettype"]
        for name, value in fields.items():
            if isinstance(value, array):
                fields[name] = value.tolist()
        rows[kind].append({"timestamp": message._timestamp, **fields})
    for kind, found in rows.items():
        yield kind.lower(), 0, pd.DataFrame(found)


def put_parquet(s3: Any, bucket: str, name: str, frame: pd.DataFrame) -> None:
    out = io.BytesIO()
    frame.to_parquet(out, compression="zstd")
    s3.put_object(Bucket=bucket, Key=f"{name}.parquet", Body=out.getvalue())


def copy(connection: Any, topic: str, frame: pd.DataFrame) -> None:
    table = sql.Identifier(topic)
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(postgres_type(frame[column])))
        for column in frame.columns
    )
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("create table if not exists {} ({})").format(table, columns))
        cursor.execute(
            sql.SQL("create index if not exists {} on {} (log, timestamp)").format(
                sql.Identifier(f"{topic}_log"), table
            )
        )
        rows = io.StringIO()
        frame.to_csv(rows, index=False, header=False)
        rows.seek(0)
        cursor.copy_expert(sql.SQL("copy {} from stdin csv").format(table), rows)


def postgres_type(values: pd.Series) -> str:
    if values.dtype.kind == "u" and values.max() > _LARGEST_BIGINT:
        return "numeric"
    return _TYPES.get(values.dtype.kind, "text")


if __name__ == "__main__":
    main(*sys.argv[1:])
