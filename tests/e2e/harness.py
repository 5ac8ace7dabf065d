"""What the end-to-end tests drive: a home with everything that runs in it, and a collector of its traces."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from luthier.client import Client
from luthier.settings import ClientSettings

_REPOSITORY = Path(__file__).parent.parent.parent
_SERVING_VENV = os.environ.get("LUTHIER_SERVING_VENV", str(_REPOSITORY / ".venv-serving"))


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OpenTelemetry collector that keeps what it gets."""

    endpoint: str = ""
    spans: list[tuple[str, str, str]] = field(default_factory=list)
    """`(trace id, service, span name)`"""

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            names = {row.key: row.value.string_value for row in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append((span.trace_id.hex(), names["service.name"], span.name))
        return trace_service_pb2.ExportTraceServiceResponse()


@dataclass
class Platform:
    """A home and the variables with which everything in it runs."""

    home: Path
    environment: Mapping[str, str]

    def luthier(self, *arguments: str, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        """Runs the command line."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("luthier")), *arguments],
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """What a command prints with `-o json`; it has to succeed."""
        done = self.luthier(*arguments, "-o", "json")
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def client(self, api_key: str | None = None) -> Client:
        return Client(api_key=api_key, settings=ClientSettings(home=self.home))

    def pid_of(self, name: str) -> int:
        rows = {row["name"]: row for row in self.json("status")["processes"]}
        assert rows[name]["pid"] is not None, rows[name]
        return int(rows[name]["pid"])

    def processes(self) -> list[str]:
        """Command lines of everything that was started for this home and lives."""
        found = []
        for process in psutil.process_iter():
            try:
                command = " ".join(process.cmdline())
                if str(self.home) in command or process.environ().get("LUTHIER_HOME") == str(self.home):
                    found.append(command)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found


@contextmanager
def platform(**variables: str) -> Iterator[Platform]:
    """A fresh home that is taken down at the end, whatever happened in between."""
    # Not under pytest's folder, whose permissions every pytest on the machine tightens.
    with tempfile.TemporaryDirectory(prefix="luthier-e2e-", ignore_cleanup_errors=True) as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LUTHIER_", "OTEL_"))}
        own = {"LUTHIER_HOME": str(Path(folder) / "home"), "LUTHIER_SERVING_VENV": _SERVING_VENV}
        made = Platform(Path(folder) / "home", {**kept, **own, **variables})
        try:
            yield made
        finally:
            made.luthier("down")
