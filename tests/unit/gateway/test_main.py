"""The process: what it refuses to start with, and how it stops."""

import os
import signal
import subprocess
import sys

import pytest

ENVIRONMENT = {"PATH": os.environ["PATH"], "LUTHIER_INTERNAL_TOKEN": "secret", "LUTHIER_LOG_FORMAT": "text"}


@pytest.mark.parametrize("listen", ["0.0.0.0:7400", "[::]:7400", "192.168.1.4:7400", "example.org:7400", "127.0.0.1"])
def test_it_does_not_listen_beyond_loopback(listen):
    done = subprocess.run(
        [sys.executable, "-m", "gateway"],
        env={**ENVIRONMENT, "LUTHIER_GATEWAY_LISTEN": listen},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "LUTHIER_GATEWAY_LISTEN" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_does_not_start_without_the_internal_secret():
    done = subprocess.run(
        [sys.executable, "-m", "gateway"],
        env={**ENVIRONMENT, "LUTHIER_INTERNAL_TOKEN": ""},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "LUTHIER_INTERNAL_TOKEN" in done.stderr


def test_it_stops_cleanly_when_asked():
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway"],
        env={**ENVIRONMENT, "LUTHIER_GATEWAY_LISTEN": "127.0.0.1:0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert any("listens on port" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in stderr
