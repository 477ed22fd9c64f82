"""The process of the embedded S3: MiniStack behind the guard, on loopback.

    python -m logbox_pipeline.local.object_store --home .logbox --port 20123

Started and stopped by stack.py. What may pass is decided in guard.py, what is kept in durable.py.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Any, cast

from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.local import durable
from logbox_pipeline.local.guard import Guard
from logbox_pipeline.local.processes import LOOPBACK, read_json

ADMIN = "logbox-admin"
FULL_ACCESS = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m logbox_pipeline.local.object_store")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--lifeline", type=int, help="a pipe's read end: its end of file ends this process"
    )
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        run(options.home.resolve(), options.port, options.lifeline)
    except LogboxError as error:
        sys.exit(str(error))


def run(home: Path, port: int, lifeline: int | None = None) -> None:
    """Serve until SIGTERM, SIGINT or the end of the lifeline."""
    durable.check_version()
    admin = read_json(home / "secrets.json")
    data = home / "s3"
    set_environment(data, port)
    durable.recover(data / "objects")
    durable.check_state(data / "state")
    # MiniStack reads its environment when it is imported, and its objects right then.
    app = ministack_app()
    guard = Guard(
        app,
        port=port,
        access_log=home / "log" / "access.jsonl",
        data=data,
        on_started=lambda: ensure_admin(admin["s3_access_key_id"], admin["s3_secret_access_key"]),
    )
    asyncio.run(serve(guard, port, lifeline))
    guard.close()


def set_environment(data: Path, port: int) -> None:
    """MiniStack's settings; nothing of the caller's own AWS settings may reach it."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "MINISTACK_", "LOCALSTACK_", "S3_", "DOCKER_")):
            del os.environ[name]
    for folder in (data / "objects", data / "state"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ.update(
        {
            "AUTH": "true",
            "SERVICES": "s3,iam,sqs,sts",
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(data / "objects"),
            "PERSIST_STATE": "1",
            "STATE_DIR": str(data / "state"),
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "GATEWAY_PORT": str(port),
            "BIND_HOST": LOOPBACK,
            "MINISTACK_HOST": LOOPBACK,
            "LOG_LEVEL": "WARNING",
            # The root key, new at every start and told to nobody; the guard refuses it anyway.
            "AWS_ACCESS_KEY_ID": "LOGBOXROOT" + secrets.token_hex(16).upper(),
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(32),
        }
    )


def ministack_app() -> Any:
    """MiniStack's application, without its ways out of this process."""
    from ministack import app
    from ministack.services import iam, s3, sqs, sts  # noqa: F401

    durable.install()
    # It would run scripts it finds in /docker-entrypoint-initaws.d, and remove Docker containers
    # that it takes for its own.
    app._run_init_scripts = lambda: None
    app._run_ready_scripts = no_scripts
    app._docker_socket_present = lambda: False
    app._stop_docker_containers = lambda *_: None
    app.container_reaper.start = lambda *_: None
    return app.app


async def no_scripts() -> None:
    return None


def ensure_admin(key_id: str, secret: str) -> None:
    """Give the administrator's IAM user full access and the key of secrets.json, and no other."""
    from ministack.services import iam

    with contextlib.suppress(KeyError):
        if iam._access_keys[key_id]["SecretAccessKey"] == secret and iam._users[ADMIN]:
            return
    if ADMIN not in iam._users:
        status, _, body = iam._create_user({"UserName": [ADMIN]})
        if status != 200:
            raise LogboxError(f"the IAM user {ADMIN} cannot be made: {body.decode()}")
    iam._put_user_policy(
        {
            "UserName": [ADMIN],
            "PolicyName": ["full-access"],
            "PolicyDocument": [json.dumps(FULL_ACCESS)],
        }
    )
    for other in [k for k, v in iam._access_keys.items() if v["UserName"] == ADMIN]:
        del iam._access_keys[other]
    iam._access_keys[key_id] = {
        "UserName": ADMIN,
        "AccessKeyId": key_id,
        "SecretAccessKey": secret,
        "Status": "Active",
        "CreateDate": iam._now(),
    }
    durable.save_state("iam")


async def serve(guard: Guard, port: int, lifeline: int | None) -> None:
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"{LOOPBACK}:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 5
    config.loglevel = "WARNING"
    config.backlog = 512

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if lifeline is not None:
        os.set_blocking(lifeline, False)
        loop.add_reader(lifeline, stop.set)

    async def stopped() -> None:
        await stop.wait()

    await hypercorn_serve(cast(Any, guard), config, shutdown_trigger=stopped, mode="asgi")


if __name__ == "__main__":
    main()
