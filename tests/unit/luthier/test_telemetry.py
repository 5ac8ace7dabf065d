"""One trace id goes from parent to child through a header; logs carry it."""

import json
import subprocess
import sys

import pytest

from luthier import telemetry

PROGRAM = """
import logging, sys
from luthier import telemetry
from luthier.settings import Settings
telemetry.start("test", Settings(log_format=sys.argv[1]))
with telemetry.span("child", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
    logging.getLogger("some.module").warning("hello %s", "there", extra={"job_id": "job_1"})
    print(telemetry.current_traceparent())
logging.getLogger("some.module").info("outside")
telemetry.stop()
"""
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def _run(log_format: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, log_format], check=True, capture_output=True, text=True, timeout=60
    )


def test_a_span_continues_the_trace_of_a_traceparent() -> None:
    child = _run("json").stdout.strip()
    assert telemetry.trace_id_of(child) == TRACE_ID
    assert "b7ad6b7169203331" not in child


_ASKING = """
import logging
from luthier import telemetry
from luthier.settings import Settings
telemetry.start("test", Settings(log_level="DEBUG"))
for name in ("httpx", "httpcore.http11", "urllib3.connectionpool"):
    logging.getLogger(name).info("GET https://host/a?signature=hidden")
    logging.getLogger(name).debug("GET /a?signature=hidden")
logging.getLogger("workers").debug("shown")
telemetry.stop()
"""


def test_libraries_do_not_tell_which_urls_they_ask() -> None:
    ran = subprocess.run([sys.executable, "-c", _ASKING], check=True, capture_output=True, text=True, timeout=60)
    assert "hidden" not in ran.stderr
    assert "shown" in ran.stderr


def test_json_logs_carry_time_level_service_and_trace() -> None:
    inside, outside = (json.loads(line) for line in _run("json").stderr.splitlines())
    assert inside["message"] == "hello there"
    assert inside["level"] == "WARNING"
    assert inside["logger"] == "some.module"
    assert inside["service"] == "test"
    assert inside["job_id"] == "job_1"
    assert inside["trace_id"] == TRACE_ID
    assert inside["time"]
    assert outside["trace_id"] == ""


def test_text_logs_are_one_line_for_people() -> None:
    first, _ = _run("text").stderr.splitlines()
    assert "WARNING" in first
    assert first.endswith("test some.module: hello there")


@pytest.mark.parametrize("text", ["", "nonsense", "00-abc"])
def test_no_trace_id_where_there_is_none(text: str) -> None:
    assert telemetry.trace_id_of(text) == ""
