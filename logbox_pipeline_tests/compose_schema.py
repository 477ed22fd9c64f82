"""Check docker-compose.yml without an engine: against the compose schema, and against itself.

    python -m logbox_pipeline_tests.compose_schema

Exit 0 when nothing is found, 1 with one finding per line. Whether the containers start, nothing
here can tell.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from logbox_pipeline.settings import Settings

ROOT = Path(__file__).parents[1]
SCHEMA = Path(__file__).parent / "compose_spec" / "compose-spec.json"
DOORS = {"proxy"}
"""Services that may publish ports."""

_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)")
_PINNED = re.compile(r"[^:@]+:\d[^:@]*(@sha256:[0-9a-f]{64})?|[^:@]+@sha256:[0-9a-f]{64}")


def main() -> int:
    found = list(findings())
    for finding in found:
        sys.stderr.write(f"docker-compose.yml: {finding}\n")
    return 1 if found else 0


def findings(text: str | None = None) -> Iterator[str]:
    """Everything that is wrong with the file, or with `text` in its place."""
    text = (ROOT / "docker-compose.yml").read_text() if text is None else text
    compose = yaml.safe_load(text)
    schema = json.loads(SCHEMA.read_text())
    broken = sorted(
        Draft202012Validator(schema).iter_errors(compose), key=lambda one: one.json_path
    )
    yield from (f"{one.json_path}: {one.message}" for one in broken)
    if broken:
        return
    services: Mapping[str, Mapping[str, Any]] = compose["services"]
    for name, service in services.items():
        for finding in _of_service(service, services, compose):
            yield f"services.{name}: {finding}"
        if service.get("ports") and name not in DOORS:
            yield f"services.{name}: publishes a port, and only the proxy may"
    explained = set(re.findall(r"[A-Z0-9_]+(?==)", (ROOT / ".env.example").read_text()))
    for variable in sorted(set(_VARIABLE.findall(text)) - explained):
        yield f"{variable} is not explained in .env.example"


def _of_service(
    service: Mapping[str, Any],
    services: Mapping[str, Mapping[str, Any]],
    compose: Mapping[str, Any],
) -> Iterator[str]:
    if not _PINNED.fullmatch(service.get("image", "")):
        yield f"image {service.get('image')!r} is not pinned to a version"
    for other, how in service.get("depends_on", {}).items():
        if other not in services:
            yield f"depends on {other}, which is no service"
        elif how["condition"] == "service_healthy" and "healthcheck" not in services[other]:
            yield f"waits for the health of {other}, which has no healthcheck"
        elif how["condition"] == "service_completed_successfully" and (
            services[other].get("restart") != "no"
        ):
            yield f"waits for the end of {other}, which is restarted"
    for network in service.get("networks", []):
        if network not in compose["networks"]:
            yield f"is on network {network}, which does not exist"
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        if source.startswith("."):
            if not (ROOT / source).exists():
                yield f"mounts {source}, which does not exist"
        elif source not in compose["volumes"]:
            yield f"mounts volume {source}, which does not exist"
    build = service.get("build")
    if build and not (ROOT / build["dockerfile"]).exists():
        yield f"is built by {build['dockerfile']}, which does not exist"
    for variable in service.get("environment", {}):
        field = variable.removeprefix("LOGBOX_").lower()
        if variable.startswith("LOGBOX_") and field not in Settings.model_fields:
            yield f"sets {variable}, which is no setting"


if __name__ == "__main__":
    sys.exit(main())
