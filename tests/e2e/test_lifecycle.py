"""`luthier up`, `status` and `down`, with and without accidents. Triton is told to be elsewhere, to be quicker."""

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from luthier.errors import UnavailableError
from tests.e2e.harness import Platform, platform

pytestmark = pytest.mark.slow

CHILDREN = ["postgres", "nats", "coordinator", "gateway", "worker-cpu"]


@pytest.fixture(scope="module")
def small() -> Iterator[Platform]:
    with platform(LUTHIER_TRITON_URL="127.0.0.1:1") as made:
        yield made


def up(made: Platform) -> None:
    done = made.luthier("up", "--detach")
    assert done.returncode == 0, done.stderr


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


def test_up_status_down(small: Platform) -> None:
    up(small)
    status = small.json("status")
    assert status["endpoints"].keys() == {"grpc", "http", "nats", "triton_grpc", "triton_http"}
    assert [row["name"] for row in status["processes"]] == CHILDREN
    assert {row["state"] for row in status["processes"]} == {"running"}
    assert small.client().list() == []

    again = small.luthier("up", "--detach")
    assert again.returncode == 0
    assert "already running" in again.stderr

    assert small.luthier("down").returncode == 0
    assert small.processes() == []
    assert {row["state"] for row in small.json("status")["processes"]} == {"stopped"}
    with pytest.raises(UnavailableError, match="luthier up"):
        small.client()
    assert small.luthier("down").returncode == 0


def test_a_crashed_child_comes_back_on_the_same_port(small: Platform) -> None:
    up(small)
    endpoint = small.json("status")["endpoints"]["grpc"]
    os.kill(small.pid_of("gateway"), signal.SIGKILL)

    def is_back() -> bool:
        row = next(row for row in small.json("status")["processes"] if row["name"] == "gateway")
        return bool(row["restarts"] == 1 and row["state"] == "running")

    until(is_back)
    assert small.json("status")["endpoints"]["grpc"] == endpoint
    assert small.client().list() == []


def test_a_killed_launcher_leaves_nothing_and_the_next_up_goes_on(small: Platform) -> None:
    up(small)
    os.kill(small.json("status")["launcher_pid"], signal.SIGKILL)
    until(lambda: small.processes() == [])
    assert small.json("status")["state"] == "stopped"
    up(small)
    assert small.client().list() == []
    assert small.luthier("down").returncode == 0
    assert small.processes() == []


def test_a_child_that_cannot_start_is_named_with_its_last_words() -> None:
    with platform(LUTHIER_TRITON_URL="127.0.0.1:1", LUTHIER_RECONCILE_INTERVAL="often") as made:
        done = made.luthier("up", "--detach")
        assert done.returncode == 1
        assert "coordinator exited with status" in done.stderr
        assert "reconcile_interval" in done.stderr
        failed = [row["name"] for row in made.json("status")["processes"] if row["state"] == "failed"]
        assert failed == ["coordinator"]
        assert made.processes() == []
