"""What every test may ask for: the real Postgres and the real S3, started when first asked for.

stack       one embedded stack for the whole run, shared by all pytest-xdist workers
database    the URL of a fresh, empty database, dropped after the test
buckets     a prefix of bucket names that no other test uses; buckets under it are removed
cluster     the roles of setup, made once per run, and a migrated database to copy
site        a `steps.site.Site` of its own: fresh database as logbox_writer, four fresh buckets,
            the replica's on the second S3 endpoint, clients `acme` and `beta`
"""

import contextlib
import fcntl
import itertools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from logbox_pipeline.steps.site import Site

HOME_VARIABLE = "LOGBOX_TEST_RUN_HOME"
PID_VARIABLE = "LOGBOX_TEST_RUN_PID"
START_TIMEOUT_S = 90
ENOUGH_MEMORY_BYTES = 6 * 1024**3

# The same cases each time, so that only a change turns `make test` red; `make fuzz` draws new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True)
if "LOGBOX_FUZZ_CASES" not in os.environ:
    hypothesis.settings.load_profile("repeatable")


@dataclass(frozen=True)
class Stack:
    """Where the running stack is, and its administrator's credentials."""

    s3_endpoint: str
    iam_endpoint: str
    access_key_id: str
    secret_access_key: str
    admin_database_url: str
    environment: dict[str, str]
    home: Path

    def client(self, service: str = "s3", **credentials: Any) -> Any:
        """A boto3 client of the administrator, or of other credentials."""
        endpoint = self.iam_endpoint if service == "iam" else self.s3_endpoint
        return self._client(service, endpoint, "LOGBOX_S3", credentials)

    def replica_client(self) -> Any:
        """A boto3 client of the replica's administrator."""
        endpoint = self.environment["LOGBOX_REPLICA_S3_ENDPOINT"]
        return self._client("s3", endpoint, "LOGBOX_REPLICA", {})

    def _client(self, service: str, endpoint: str, prefix: str, credentials: Any) -> Any:
        import boto3
        from botocore.config import Config

        keys = {
            "aws_access_key_id": self.environment[f"{prefix}_ACCESS_KEY_ID"],
            "aws_secret_access_key": self.environment[f"{prefix}_SECRET_ACCESS_KEY"],
        } | credentials
        config = Config(
            retries={"max_attempts": 1, "mode": "standard"},
            max_pool_connections=32,
            # Botocore's presigned URLs are SigV2 otherwise, which the guard refuses.
            signature_version="s3v4" if service == "s3" else "v4",
        )
        return boto3.client(
            service, endpoint_url=endpoint, region_name="us-east-1", config=config, **keys
        )


def pytest_configure(config: pytest.Config) -> None:
    if is_controller(config):
        # Workers are this process's children and find the same folder by its name.
        os.environ[HOME_VARIABLE] = str(
            quick_folder() / f"logbox-tests-{os.getpid()}-{secrets.token_hex(4)}"
        )
        os.environ[PID_VARIABLE] = str(os.getpid())


def quick_folder() -> Path:
    """Where the run's stack lives: in memory when there is enough, since each PUT waits for the
    disk, and tests do little else."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > ENOUGH_MEMORY_BYTES:
        return memory
    return Path(tempfile.gettempdir())


def pytest_unconfigure(config: pytest.Config) -> None:
    if not is_controller(config):
        return
    home = Path(os.environ.pop(HOME_VARIABLE))
    os.environ.pop(PID_VARIABLE, None)
    if home.exists():
        stop_keeper(home)


def is_controller(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput")


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The run's Postgres and S3; the first caller starts them."""
    home = Path(os.environ[HOME_VARIABLE])
    home.mkdir(exist_ok=True)
    # PostgreSQL's system user must pass through when the tests run as root.
    home.chmod(0o711)
    with (home / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "ready.json").exists():
            start_keeper(home)
        environment = json.loads((home / "ready.json").read_text())
    return Stack(
        s3_endpoint=environment["LOGBOX_S3_ENDPOINT"],
        iam_endpoint=environment["LOGBOX_IAM_ENDPOINT"],
        access_key_id=environment["LOGBOX_S3_ACCESS_KEY_ID"],
        secret_access_key=environment["LOGBOX_S3_SECRET_ACCESS_KEY"],
        admin_database_url=environment["LOGBOX_ADMIN_DATABASE_URL"],
        environment=environment,
        home=home / "stack",
    )


@pytest.fixture
def database(stack: Stack) -> Iterator[str]:
    """A superuser's URL of a fresh, empty database."""
    import psycopg2

    name = f"test_{secrets.token_hex(6)}"
    server, _, _ = stack.admin_database_url.rpartition("/")
    with contextlib.closing(psycopg2.connect(stack.admin_database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"create database {name}")
            yield f"{server}/{name}"
            cursor.execute(f"drop database if exists {name} with (force)")


@pytest.fixture
def buckets(stack: Stack) -> Iterator[str]:
    """A prefix for bucket names, such as `t1f0c9a2b-`; what the test made under it is removed."""
    prefix = f"t{secrets.token_hex(5)}-"
    yield prefix
    for s3 in (stack.client(), stack.replica_client()):
        for bucket in s3.list_buckets()["Buckets"]:
            if bucket["Name"].startswith(prefix):
                remove_bucket(s3, bucket["Name"])


@dataclass(frozen=True)
class Cluster:
    """The roles in the stack's Postgres, and a migrated database that tests copy."""

    admin_url: str
    passwords: dict[str, str]
    template: str

    def url(self, role: str, database: str) -> str:
        server = self.admin_url.rpartition("@")[2].partition("/")[0]
        return f"postgresql://{role}:{self.passwords[role]}@{server}/{database}"


@pytest.fixture(scope="session")
def cluster(stack: Stack) -> Cluster:
    """Made once for all workers; a test that makes roles itself must use these passwords."""
    home = stack.home.parent
    known = home / "cluster.json"
    with (home / "cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not known.exists():
            made = make_cluster(stack)
            known.write_text(json.dumps({"passwords": made.passwords, "template": made.template}))
        return Cluster(stack.admin_database_url, **json.loads(known.read_text()))


def make_cluster(stack: Stack) -> Cluster:
    from logbox_pipeline.settings import Settings
    from logbox_pipeline.steps.setup import OWNER, WRITER, make_roles_and_databases, migrate

    cluster = Cluster(
        stack.admin_database_url,
        {OWNER: secrets.token_hex(8), WRITER: secrets.token_hex(8)},
        f"template_{secrets.token_hex(6)}",
    )
    owner_url = cluster.url(OWNER, cluster.template)
    writer_url = cluster.url(WRITER, cluster.template)
    settings = Settings(
        admin_database_url=stack.admin_database_url,
        owner_database_url=owner_url,
        database_url=writer_url,
    )
    make_roles_and_databases(settings, lambda _: None)
    give_passwords(cluster)
    migrate(owner_url, writer_url)
    return cluster


def give_passwords(cluster: Cluster) -> None:
    """A test that came first may have made the roles; setup leaves those as they are."""
    import psycopg2
    from psycopg2 import sql

    with (
        contextlib.closing(psycopg2.connect(cluster.admin_url)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        for role, password in cluster.passwords.items():
            cursor.execute(
                sql.SQL("alter role {} login password {}").format(
                    sql.Identifier(role), sql.Literal(password)
                )
            )


@pytest.fixture
def site(make_site: "MakeSite") -> Iterator["Site"]:
    """A whole site of its own, as setup leaves it, with two clients."""
    with make_site() as made:
        yield made


MakeSite = Callable[[], contextlib.AbstractContextManager["Site"]]


@pytest.fixture
def make_site(cluster: Cluster, stack: Stack, buckets: str, tmp_path: Path) -> MakeSite:
    """Makes one site more each time: `with make_site() as other: ...`."""
    number = itertools.count()
    return lambda: new_site(cluster, stack, f"{buckets}{next(number)}-", tmp_path)


@contextlib.contextmanager
def new_site(cluster: Cluster, stack: Stack, buckets: str, folder: Path) -> Iterator["Site"]:
    from logbox_pipeline.settings import Settings
    from logbox_pipeline.steps.setup import OWNER, WRITER, set_up_buckets
    from logbox_pipeline.steps.site import open_site

    with copied_database(cluster) as database:
        settings = Settings(
            home=folder / "home",
            work_dir=folder / f"{buckets}work",
            s3_endpoint=stack.s3_endpoint,
            iam_endpoint=stack.iam_endpoint,
            s3_access_key_id=stack.access_key_id,
            s3_secret_access_key=stack.secret_access_key,
            landing_bucket=f"{buckets}landing",
            archive_bucket=f"{buckets}archive",
            lake_bucket=f"{buckets}lake",
            replica_bucket=f"{buckets}replica",
            replica_s3_endpoint=stack.environment["LOGBOX_REPLICA_S3_ENDPOINT"],
            replica_s3_region=stack.environment["LOGBOX_REPLICA_S3_REGION"],
            replica_access_key_id=stack.environment["LOGBOX_REPLICA_ACCESS_KEY_ID"],
            replica_secret_access_key=stack.environment["LOGBOX_REPLICA_SECRET_ACCESS_KEY"],
            admin_database_url=stack.admin_database_url,
            owner_database_url=cluster.url(OWNER, database),
            database_url=cluster.url(WRITER, database),
            secret_key="a secret of tests, of at least 32 characters",
            parse_workers=1,
        )
        site = open_site(settings)
        set_up_buckets(site, lambda _: None)
        with site.transaction() as cursor:
            cursor.execute(
                "insert into logbox.clients values ('acme', now(), null), ('beta', now(), null)"
            )
        yield site


@contextlib.contextmanager
def copied_database(cluster: Cluster) -> Iterator[str]:
    """The name of a fresh migrated database, dropped at the end."""
    import psycopg2

    name = f"site_{secrets.token_hex(6)}"
    with contextlib.closing(psycopg2.connect(cluster.admin_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"create database {name} owner logbox_owner template {cluster.template}")
            yield name
            cursor.execute(f"drop database if exists {name} with (force)")


def remove_bucket(s3: Any, bucket: str) -> None:
    def remove(found: dict[str, Any]) -> None:
        s3.delete_object(
            Bucket=bucket, Key=found["Key"], VersionId=found["VersionId"],
            BypassGovernanceRetention=True,
        )  # fmt: skip

    # One by one: keys with control characters make DeleteObjects answer 500.
    with ThreadPoolExecutor(8) as threads:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            list(threads.map(remove, page.get("Versions", []) + page.get("DeleteMarkers", [])))
    s3.delete_bucket(Bucket=bucket)


def start_keeper(home: Path) -> None:
    with (home / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [
                sys.executable, "-m", "logbox_pipeline_tests.stack_keeper",
                str(home), os.environ[PID_VARIABLE],
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            cwd=Path(__file__).parents[1],
        )  # fmt: skip
    (home / "keeper.pid").write_text(str(keeper.pid))
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (home / "ready.json").exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the test stack does not start:\n{read(home / 'keeper.log')}")
        if (home / "failed.txt").exists():
            pytest.fail(f"the test stack does not start:\n{read(home / 'failed.txt')}")
        time.sleep(0.05)


def stop_keeper(home: Path) -> None:
    """End the keeper, which ends the stack and removes its folder; then see that it has."""
    text = read(home / "keeper.pid")
    if text:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(text), signal.SIGTERM)
    deadline = time.monotonic() + 60
    while text and home.exists() and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(int(text), os.WNOHANG)
        time.sleep(0.05)
    shutil.rmtree(home, ignore_errors=True)


def read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
