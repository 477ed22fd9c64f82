"""`logbox-drone` as a drone runs it: a process with an environment, exit codes and two streams."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from logbox_pipeline.drone.cli import read_env_file
from logbox_pipeline.drone.deliver import size_text
from logbox_pipeline.drone.errors import TargetError
from logbox_pipeline_tests.drone.conftest import Landing

SHIFTED = """
import datetime, sys, time
off = datetime.timedelta(days=float(sys.argv.pop(1)))
true = datetime.datetime
class Shifted(true):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp((true.now() + off).timestamp(), tz)
    @classmethod
    def utcnow(cls):
        return cls.now(datetime.timezone.utc).replace(tzinfo=None)
datetime.datetime = Shifted
seconds = time.time
time.time = lambda: seconds() + off.total_seconds()
from logbox_pipeline.drone.cli import main
sys.exit(main())
"""


def run(
    *arguments: object, days_off: float | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with no Logbox settings but these."""
    start = ["-m", "logbox_pipeline.drone.cli"]
    if days_off is not None:
        start = ["-c", SHIFTED, str(days_off)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LOGBOX_")}
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def env_file(landing: Landing, tmp_path: Path) -> Path:
    path = tmp_path / "drone.env"
    path.write_text(landing.env_lines())
    return path


def test_upload_with_the_printed_lines(landing: Landing, log: Path, env_file: Path) -> None:
    done = run("upload", log, "--env", env_file, "--vehicle", "falke-3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"uploaded {landing.prefix}falke-3/flight.ulg")
    assert landing.stored() == {"falke-3/flight.ulg": log.read_bytes()}


def test_upload_with_the_environment(landing: Landing, log: Path) -> None:
    lines = dict(line.split("=", 1) for line in landing.env_lines().splitlines())
    done = run("upload", log, "--name", "other.ulg", LOGBOX_VEHICLE="v7", **lines)
    assert done.returncode == 0
    assert set(landing.stored()) == {"v7/other.ulg"}


def test_json_has_one_line_for_every_file(
    landing: Landing, log: Path, env_file: Path, tmp_path: Path
) -> None:
    done = run("upload", log, tmp_path / "none.ulg", log, "--env", env_file, "--json")
    assert done.returncode == 1
    first, missing, again = map(json.loads, done.stdout.splitlines())
    assert first["state"] == "uploaded"
    assert first["key"] == f"{landing.prefix}flight.ulg"
    assert first["size_bytes"] == log.stat().st_size
    assert len(first["sha256"]) == 64
    assert missing["state"] == again["state"] == "failed"
    assert "No such file" in missing["error"]
    assert "--name" in again["hint"]
    assert done.stderr == ""


def test_failed_file_does_not_stop_the_others(
    landing: Landing, log: Path, env_file: Path, tmp_path: Path
) -> None:
    done = run("upload", tmp_path / "none.ulg", log, "--env", env_file)
    assert done.returncode == 1
    assert "failed: " in done.stderr
    assert "Traceback" not in done.stderr
    assert set(landing.stored()) == {"flight.ulg"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["upload", "x.ulg"], "LOGBOX_CLIENT is not set"),
        (["upload", "x.ulg", "--env", "no-such-file"], "cannot read no-such-file"),
        (["upload"], "PATH"),
        (["upload", "x.ulg", "--attempts", "0"], "1 or more"),
        ([], "command"),
    ],
)
def test_wrong_use_ends_with_2(arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_nothing_is_sent_when_one_argument_is_wrong(
    landing: Landing, log: Path, env_file: Path, tmp_path: Path
) -> None:
    for wrong, says in (
        (["upload", log, tmp_path, "--env", env_file], "is a folder"),
        (["upload", log, log, "--name", "x", "--env", env_file], "--name"),
        (["upload", log, tmp_path / "x.sha256", "--env", env_file], "sidecar"),
        (["upload", log, "--vehicle", "a/b", "--env", env_file], "vehicle"),
    ):
        done = run(*wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr
    assert landing.stored() == {}


@pytest.mark.parametrize("days_off", [3, -3, 4000])
@pytest.mark.parametrize("file", ["log", "big_log"])
def test_clock_that_is_wrong_does_not_matter(
    landing: Landing,
    env_file: Path,
    file: str,
    days_off: float,
    request: pytest.FixtureRequest,
) -> None:
    path = request.getfixturevalue(file)
    done = run("upload", path, "--env", env_file, days_off=days_off)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("clock is off by") == 1
    assert landing.stored() == {path.name: path.read_bytes()}


def test_shifted_clock_is_refused_when_it_is_not_corrected(landing: Landing) -> None:
    """The test above proves nothing unless the store minds."""
    script = SHIFTED.partition("from logbox_pipeline")[0] + (
        "import boto3\n"
        f"boto3.client('s3', endpoint_url={landing.target.endpoint!r}, region_name='us-east-1', "
        f"aws_access_key_id={landing.target.access_key_id!r}, "
        f"aws_secret_access_key={landing.target.secret_access_key!r}).put_object("
        f"Bucket={landing.target.bucket!r}, Key='{landing.prefix}x.ulg', Body=b'x')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "3"], capture_output=True, text=True, check=False
    )
    assert "RequestTimeTooSkewed" in done.stderr


def test_env_file_is_read_as_a_shell_would(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# key\n\nexport A=1\nB = 'two words'\nC=\"x=y\"\nD=\n")
    assert read_env_file(path) == {"A": "1", "B": "two words", "C": "x=y", "D": ""}


def test_env_file_with_something_else_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\nnonsense\n")
    with pytest.raises(TargetError, match="line 2"):
        read_env_file(path)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (4_300_000_000, "4.3 GB")],
)
def test_sizes_read_well(size_bytes: float, text: str) -> None:
    assert size_text(size_bytes) == text


@pytest.mark.slow
def test_base_install_uploads(landing: Landing, log: Path, tmp_path: Path) -> None:
    """The wheel in a fresh environment, no extras: boto3 and what it needs is all there is."""
    root = Path(__file__).parents[2]
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    wheels = tmp_path / "wheels"
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels],
        cwd=root,
        check=True,
        capture_output=True,
    )
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([python, "-m", "pip", "install", "-q", wheel], check=True, capture_output=True)
    installed = subprocess.run(
        [python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True
    )
    names = {one["name"].lower().replace("_", "-") for one in json.loads(installed.stdout)}
    assert names <= {
        "boto3", "botocore", "jmespath", "logbox-pipeline", "pip", "python-dateutil",
        "s3transfer", "setuptools", "six", "urllib3",
    }  # fmt: skip
    env_file = tmp_path / "drone.env"
    env_file.write_text(landing.env_lines() + "LOGBOX_VEHICLE=v1\n")
    done = subprocess.run(
        [tmp_path / "venv" / "bin" / "logbox-drone", "upload", log, "--env", env_file],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert landing.stored() == {"v1/flight.ulg": log.read_bytes()}


def test_drones_code_compiles_on_python_3_9() -> None:
    """By grammar; ruff holds the rest of it to 3.9 (per-file-target-version)."""
    import logbox_pipeline.drone

    for path in Path(logbox_pipeline.drone.__path__[0]).glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match)], path


def test_python_3_9_itself_imports_what_needs_no_boto3() -> None:
    pythons = [*Path.home().glob(".pyenv/versions/3.9.*/bin/python"), *which("python3.9")]
    if not pythons:
        pytest.skip("no Python 3.9 here")
    root = Path(__file__).parents[2]
    alone = "ed25519 errors receipt rate digest body target folder journal remove"
    script = f"for name in {alone.split()}: __import__('logbox_pipeline.drone.' + name)"
    subprocess.run([pythons[0], "-c", script], check=True, cwd=root, capture_output=True)
    subprocess.run(
        [pythons[0], "-m", "compileall", "-q", "-f", root / "logbox_pipeline" / "drone"],
        check=True,
        capture_output=True,
    )


def which(command: str) -> list[Path]:
    found = shutil.which(command)
    works = found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0
    return [Path(found)] if found and works else []
