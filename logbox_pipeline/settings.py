"""Read the environment once into one frozen Settings. The only module that reads it.

Later sources win: `<LOGBOX_HOME>/stack.env` and `setup.env` (of the embedded stack), `.env`, the
environment. `.env.example` lists every name here; a test keeps the two the same.
"""

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from dotenv import dotenv_values
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from logbox_pipeline.core.errors import SettingError


class Settings(BaseSettings):
    """Every setting, with its unit in its name. Names in the environment start with LOGBOX_."""

    model_config = SettingsConfigDict(env_prefix="LOGBOX_", frozen=True, extra="ignore")

    home: Path = Field(
        Path(".logbox"), description="Folder of the embedded stack: data, logs, secrets."
    )

    s3_endpoint: str | None = Field(
        None, description="S3 endpoint; empty means AWS itself in LOGBOX_S3_REGION."
    )
    s3_region: str = Field("us-east-1", description="Region of these three buckets.")
    s3_access_key_id: str | None = Field(
        None, description="Logbox's own key; empty means the usual AWS credential chain."
    )
    s3_secret_access_key: str | None = Field(
        None, description="The secret of that key.", repr=False
    )
    iam_endpoint: str | None = Field(
        None, description="IAM endpoint; self-hosted stores serve it apart from S3."
    )
    public_s3_endpoint: str | None = Field(
        None, description="The S3 endpoint as drones and analysts reach it, when it differs."
    )
    landing_bucket: str = Field("logbox-landing", description="Drones write here. Versioned.")
    archive_bucket: str = Field("logbox-archive", description="The originals. Versioned.")
    lake_bucket: str = Field("logbox-lake", description="Parquet; analysts read here.")

    replica_bucket: str = Field(
        "logbox-replica", description="A copy of each original, elsewhere. Versioned."
    )
    replica_s3_endpoint: str | None = Field(
        None,
        description="S3 endpoint of the replica; empty means AWS itself in its region.",
    )
    replica_s3_region: str | None = Field(
        None, description="Region of the replica; empty means LOGBOX_S3_REGION."
    )
    replica_access_key_id: str | None = Field(
        None, description="A key for the replica alone; empty means the usual AWS credential chain."
    )
    replica_secret_access_key: str | None = Field(
        None, description="The secret of that key.", repr=False
    )
    replication: Literal["copy", "external", "off"] | None = Field(
        None,
        description="Who copies: Logbox (copy), the store by itself while Logbox verifies "
        "(external), nobody (off). Empty: copy once a bucket, endpoint or region is set here.",
    )

    database_url: str | None = Field(
        None, description="The pipeline's database, as role logbox_writer.", repr=False
    )
    owner_database_url: str | None = Field(
        None, description="The same database as role logbox_owner; migrations use it.", repr=False
    )
    test_database_url: str | None = Field(
        None, description="A second database, as logbox_owner, for trying things out.", repr=False
    )
    dagster_database_url: str | None = Field(
        None, description="Dagster's own storage (runs, events, schedules).", repr=False
    )
    admin_database_url: str | None = Field(
        None,
        description="A role that may create roles and databases; only setup and analyst use it.",
        repr=False,
    )

    digest_policy: Literal["require", "accept"] = Field(
        "require", description="What becomes of a log that never declares a digest."
    )
    sidecar_grace_s: int = Field(
        300, ge=0, description="How long a log may wait for its .sha256 sidecar."
    )
    max_log_bytes: int = Field(
        4 * 1024**3, gt=0, le=5 * 1024**3, description="Larger objects are quarantined unread."
    )
    max_unwrapped_bytes: int = Field(
        4 * 1024**3, gt=0, description="A log that is larger once unwrapped stays unparsed."
    )
    max_unwrapped_total_bytes: int = Field(
        16 * 1024**3,
        gt=0,
        description="Most unwrapped bytes of one object, and of one batch, in scratch at a time.",
    )
    max_unwrapped_ratio: int = Field(
        200, gt=0, description="Past its first 256 MiB, unwrapped over wrapped size of a bomb."
    )
    max_members: int = Field(1_000, gt=0, description="An archive of more members stays unparsed.")

    batch_files: int = Field(2_500, gt=0, description="Most files in one batch.")
    batch_bytes: int = Field(256 * 1024**2, gt=0, description="Most bytes in one batch.")
    batch_wait_s: float = Field(
        5, ge=0, description="Oldest wait before a part-full batch is offered while others run."
    )
    run_dead_after_s: int = Field(
        60, gt=0, description="A started run without heartbeat for so long is dead."
    )
    parse_workers: int = Field(
        2, gt=0, description="Parser processes of one run; as many again while it opens wrappers."
    )
    parse_memory_bytes: int = Field(
        1024**3, gt=0, description="Memory limit of one parser process, before its file's share."
    )
    parse_cpu_s: int = Field(
        30, gt=0, description="CPU-time limit of one file, before its size's share."
    )
    work_dir: Path | None = Field(
        None, description="Scratch folder of runs; empty means <LOGBOX_HOME>/work."
    )

    postgres_topics: str = Field(
        "*", description="Topics whose telemetry goes to Postgres; comma-separated globs."
    )
    max_telemetry_tables: int = Field(
        2_000, gt=0, description="Further telemetry tables stay in the lake only."
    )

    postgres_telemetry_days: int = Field(
        0,
        ge=0,
        description="Telemetry of months that are wholly older leaves Postgres; 0 keeps all.",
    )

    lake_grace_s: int = Field(
        3_600, ge=0, description="How long a replaced Parquet file may still be read."
    )
    compaction_grace_s: int = Field(
        300, ge=0, description="The same for one whose rows compaction put into a larger file."
    )
    lake_file_bytes: int = Field(
        128 * 1024**2,
        gt=0,
        description="Compaction makes Parquet files of about so many bytes of closed days.",
    )

    drill_days: int = Field(
        2, gt=0, description="Days that the weekly drill rebuilds and compares."
    )
    scrub_days: int = Field(
        30, gt=0, description="In so many nightly scrubs every stored byte is read again."
    )

    freshness_promise_s: int = Field(
        900, gt=0, description="A received log not loaded for so long makes its check warn."
    )
    stale_after_s: int = Field(
        3_600, gt=0, description="An object still in landing for so long is stale."
    )
    replica_lag_s: int = Field(
        900,
        gt=0,
        description="An archived log not in the replica for so long makes its check warn.",
    )
    silent_after_s: int = Field(
        7 * 86_400, gt=0, description="A client unheard of for so long is overdue."
    )
    event_log_days: int = Field(30, gt=0, description="Dagster run events older than this go.")
    access_log_prefix: str | None = Field(
        None,
        pattern=r"^s3://[a-z0-9.-]{3,63}/[^,\s]*(,s3://[a-z0-9.-]{3,63}/[^,\s]*)*$",
        description="Where AWS puts S3 server access logs: s3://bucket/prefix/, comma-separated.",
    )
    access_log_days: int = Field(90, gt=0, description="Requests to the stores older than this go.")
    refused_requests_h: int = Field(
        24, gt=0, description="How many hours a refused request makes its check warn."
    )
    alert_webhook_url: str | None = Field(
        None, description="Slack-compatible webhook that is told of failed runs.", repr=False
    )
    secret_key: str | None = Field(
        None,
        description="What the key of receipts and seals is made from, 32 characters or more.",
        repr=False,
    )
    signing_key: str | None = Field(
        None,
        description="That key itself instead: base64 of 32 bytes, or an Ed25519 key in PEM.",
        repr=False,
    )
    receipt_public_key: str | None = Field(
        None, description="Public keys of earlier receipts and seals, with commas between them."
    )
    archive_lock_days: int = Field(
        0, ge=0, description="Object lock (GOVERNANCE) of the archive, in days; 0 is none."
    )

    failpoints: Path | None = Field(
        None,
        description="For tests: a folder of files named after places in the commit order; a "
        "process that comes to one removes its file and kills itself, or whose id stands in it.",
    )
    web_host: str = Field("127.0.0.1", description="Address of the Dagster UI.")
    web_port: int = Field(3000, ge=0, le=65535, description="Port of the Dagster UI.")

    @property
    def access_log_prefixes(self) -> tuple[str, ...]:
        return tuple(self.access_log_prefix.split(",")) if self.access_log_prefix else ()

    @property
    def replicates_by(self) -> Literal["copy", "external", "off"]:
        """LOGBOX_REPLICATION, or what the other settings of the replica make of it."""
        if self.replication is not None:
            return self.replication
        place = {"replica_bucket", "replica_s3_endpoint", "replica_s3_region"}
        return "copy" if place & self.model_fields_set else "off"

    @property
    def scratch(self) -> Path:
        return self.work_dir or self.home / "work"


def load_settings() -> Settings:
    """Settings from the environment and its files.

    Raises SettingError naming the first wrong setting.
    """
    return _read(*stack_files(home_folder()), Path(".env"))


def home_folder() -> Path:
    """Where the stack is, whatever else the settings say."""
    return Path(os.environ.get("LOGBOX_HOME", ".logbox"))


def _read(*files: Path) -> Settings:
    _refuse_unknown_names(Path(".env"))
    try:
        return Settings(_env_file=files)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        name = "LOGBOX_" + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingError(
            f"{name} is wrong: {first['msg']} (found {first['input']!r})",
            hint=f"set {name} in .env; .env.example says what it means",
        ) from None


def _refuse_unknown_names(file: Path) -> None:
    """A misspelt setting would be passed over in silence."""
    known = {f"LOGBOX_{name.upper()}" for name in Settings.model_fields}
    for name in dotenv_values(file):
        # What `logbox client add` prints for a drone may stand in the same file.
        is_drones = name.startswith("LOGBOX_CLIENT") or name == "LOGBOX_VEHICLE"
        if name.startswith("LOGBOX_") and name not in known and not is_drones:
            likely = get_close_matches(name, known, n=1)
            raise SettingError(
                f"{name} in .env is no setting",
                hint=f"did you mean {likely[0]}?" if likely else "see .env.example for their names",
            )


def stack_files(home: Path) -> tuple[Path, Path]:
    """Where the embedded stack leaves its settings."""
    return home / "stack.env", home / "setup.env"


def stack_environment(home: Path) -> dict[str, str]:
    """What the embedded stack's processes find in their environment: what `load_settings` reads,
    and what deploy/dagster.yaml does, which knows no files."""
    found: dict[str, str] = {}
    for file in (*stack_files(home), Path(".env")):
        found |= {name: value for name, value in dotenv_values(file).items() if value is not None}
    found |= os.environ
    return {name: value for name, value in found.items() if name.startswith("LOGBOX_")}


def is_embedded() -> bool:
    """Whether no store and no database is configured, so that the embedded stack serves."""
    own = _read(Path(".env"))
    return own.database_url is None and own.s3_endpoint is None and own.s3_access_key_id is None


def is_replica_embedded() -> bool:
    """Whether the embedded stack runs a replica: no other is configured, and one is wanted."""
    own = _read(Path(".env"))
    elsewhere = {"replica_s3_endpoint", "replica_s3_region", "replica_access_key_id"}
    return own.replication != "off" and not elsewhere & own.model_fields_set


def required(value: str | None, name: str) -> str:
    """The value of a setting this command cannot do without.

    Raises SettingError naming the setting.
    """
    if value is None:
        raise SettingError(
            f"{name} is not set",
            hint=f"run `logbox setup` for the embedded stack, or set {name} in .env",
        )
    return value
