"""The launcher's children on real stores: one that hangs is started again, one that only cannot work is not."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from luthier.local.child import Child, ChildSpec
from luthier.local.home import Home
from luthier.local.nats import nats_child, nats_url
from luthier.local.postgres import database_url, postgres_child
from luthier.local.services import Wiring, coordinator_child, gateway_child
from luthier.local.state import ChildState

Stack = dict[str, Child]


async def until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110, another process changes it
            await asyncio.sleep(0.02)


async def comes_to_answer(spec: ChildSpec, wanted: bool, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while await spec.answers() is not wanted:  # noqa: ASYNC110, another process changes it
            await asyncio.sleep(0.1)


def quick(spec: ChildSpec) -> ChildSpec:
    """Asked more often than a user's machine is; a probe still may take its time, and may fail on a busy machine."""
    return replace(spec, ask_every_seconds=0.5, num_silent=4)


@pytest.fixture
async def stack(free_port: Callable[[], int]) -> AsyncIterator[Stack]:
    """PostgreSQL, NATS, coordinator and gateway, supervised."""
    # Not under pytest's folder: as root PostgreSQL is another user, who cannot get through there.
    with tempfile.TemporaryDirectory(prefix="luthier-") as folder:
        home = Home(Path(folder) / "home")
        home.create()
        nats_port = free_port()
        wiring = Wiring(
            database_url=database_url(home),
            nats_url=nats_url(home, nats_port),
            artifacts=str(home.artifacts),
            coordinator=f"127.0.0.1:{free_port()}",
            gateway=f"127.0.0.1:{free_port()}",
            triton_url="",
            triton_unavailable_reason="no Triton here",
            triton_repository=home.triton,
        )
        specs = (
            postgres_child(home),
            nats_child(home, nats_port),
            coordinator_child(home, wiring),
            gateway_child(home, wiring),
        )
        made = {spec.name: Child(quick(spec), lambda: None) for spec in specs}
        supervision: list[asyncio.Task[None]] = []
        try:
            for child in made.values():
                await child.start()
            supervision += [asyncio.create_task(child.supervise()) for child in made.values()]
            yield made
        finally:
            for task in supervision:
                task.cancel()
            for child in reversed(made.values()):
                await child.stop()


def pid_of(child: Child) -> int:
    assert child.record.process is not None
    return child.record.process.pid


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coordinator", "gateway", "nats"])
async def test_one_that_hangs_is_started_again_and_the_others_are_not(stack: Stack, name: str) -> None:
    first = pid_of(stack[name])
    os.kill(first, signal.SIGSTOP)
    child = stack[name]
    await until(lambda: child.record.restarts == 1 and child.record.state is ChildState.RUNNING, 60)
    assert not psutil.pid_exists(first)
    await comes_to_answer(child.spec, True, 30)
    assert [other.record.restarts for other in stack.values() if other is not child] == [0, 0, 0]


@pytest.mark.slow
async def test_nobody_is_killed_because_the_database_is_silent(stack: Stack) -> None:
    postmaster = psutil.Process(pid_of(stack["postgres"]))
    frozen = [postmaster, *postmaster.children(recursive=True)]
    for process in frozen:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    coordinator = stack["coordinator"].spec
    try:
        await comes_to_answer(coordinator, False, 30)
        await asyncio.sleep(5)  # many questions long
        assert await stack["gateway"].spec.answers()
    finally:
        for process in reversed(frozen):
            with suppress(psutil.NoSuchProcess):
                process.resume()
    await comes_to_answer(coordinator, True, 30)
    assert [child.record.restarts for child in stack.values()] == [0, 0, 0, 0]
