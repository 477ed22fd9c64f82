"""Parsers that crash, hang and eat, for worker processes to run. No test here.

`parse_log` stands in for `parse_worker.parse_log`: a log that begins with one of the words below
gets that parser, every other its own.
"""

import ctypes
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from logbox_pipeline.formats.recognize import recognize
from logbox_pipeline.formats.stream import Limits
from logbox_pipeline.steps import parse_worker
from logbox_pipeline.steps.parse_worker import Budget, ParsedLog, UnparsedLog

_parse_log = parse_worker.parse_log


def parse_log(
    path: Path, folder: Path, received_at: datetime, budget: Budget, lost: Any = ()
) -> ParsedLog | UnparsedLog:
    with mock.patch.object(parse_worker, "recognize", _recognize):
        return _parse_log(path, folder, received_at, budget, lost)


def _recognize(source: memoryview, limits: Limits) -> Any:
    word = bytes(source[:16]).split(b" ")[0].decode("latin-1")
    if word in _PARSERS:
        parser = SimpleNamespace(name=word, parser_version=1, parse=_PARSERS[word])
        return SimpleNamespace(format=parser, how="content")
    return recognize(source, limits)


def _crash(*_: object) -> Iterator[Any]:
    ctypes.string_at(0)
    yield


def _exit(*_: object) -> Iterator[Any]:
    os._exit(3)
    yield


def _spin(*_: object) -> Iterator[Any]:
    while True:
        try:
            sum(range(1_000))
        except Exception:  # noqa: BLE001 - what a stubborn parser does
            continue
    yield


def _sleep(*_: object) -> Iterator[Any]:
    time.sleep(3_600)
    yield


def _eat(*_: object) -> Iterator[Any]:
    eaten = []
    while True:
        eaten.append(bytearray(16 * 1024**2))
    yield


def _recurse(*_: object) -> Iterator[Any]:
    yield from _recurse()


def _full(*_: object) -> Iterator[Any]:
    raise OSError(28, "No space left on device")
    yield


_PARSERS = {
    "CRASH": _crash,
    "EXIT": _exit,
    "SPIN": _spin,
    "SLEEP": _sleep,
    "EAT": _eat,
    "RECURSE": _recurse,
    "FULL": _full,
}
