import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from luthier.v1.stage_pb2 import Progress, StageOutputs
from workers import process as process_module
from workers.contract import read_outcome, write_task
from workers.process import RunnerProcess
from workers.workspace import Workspace


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def until_gone(pid: int, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not is_gone(pid):  # noqa: ASYNC110 - a process tells nobody of its end
            await asyncio.sleep(0.02)


@pytest.fixture
async def start(tmp_path: Path, assign, runner_argv, runner_environment):
    """Starts a real runner on a tiny stage."""
    runners = []

    async def start(kind: str) -> tuple[RunnerProcess, Path]:
        workspace = Workspace(tmp_path, "work")
        descriptor = workspace.create()
        write_task(workspace.path, assign(kind))
        runner = await RunnerProcess.start(runner_argv, workspace.path, runner_environment, keep_open=descriptor)
        runners.append(runner)
        return runner, workspace.path

    yield start
    for runner in runners:
        await runner.close()


async def test_a_runner_is_heard_to_its_end(start):
    runner, work_dir = await start("echo")
    messages = [message async for message in runner.messages()]
    assert isinstance(messages[0], Progress)
    assert runner.returncode == 0
    assert isinstance(read_outcome(work_dir), StageOutputs)
    assert "printed by the stage" in (work_dir / "runner.log").read_text()


async def test_killing_a_runner_kills_what_it_started(start):
    runner, _ = await start("family")
    async for message in runner.messages():
        if isinstance(message, Progress) and "child" in message.message:
            child = int(message.step)
            assert not is_gone(child)
            runner.kill()
    await until_gone(child, 2)
    assert runner.returncode == -signal.SIGKILL
    assert runner.was_killed


async def test_what_a_dead_runner_started_dies_after_it(start):
    runner, _ = await start("family")
    async for message in runner.messages():
        if isinstance(message, Progress) and "child" in message.message:
            child = int(message.step)
            os.kill(runner.pid, signal.SIGKILL)
    assert not runner.was_killed
    await runner.close()
    await until_gone(child, 2)


async def test_a_runner_that_hangs_after_its_outcome_is_ended(start, monkeypatch):
    monkeypatch.setattr(process_module, "_EXIT_SECONDS", 0.2)
    runner, work_dir = await start("hangs_at_exit")
    async with asyncio.timeout(30):
        assert [message async for message in runner.messages()] == []
    assert isinstance(read_outcome(work_dir), StageOutputs)
    assert runner.was_killed


async def test_a_runner_asked_to_stop_stops_at_its_checkpoint(start):
    runner, work_dir = await start("polite")
    async for message in runner.messages():
        if isinstance(message, Progress):
            runner.ask_to_stop()
    assert "stopped at step" in read_outcome(work_dir).message
    runner.ask_to_stop()


async def test_a_program_that_is_not_there_is_an_error(tmp_path: Path):
    descriptor = Workspace(tmp_path, "work").create()
    with pytest.raises(FileNotFoundError):
        await RunnerProcess.start(["/no/such/program"], tmp_path / "work", {}, keep_open=descriptor)


async def test_a_runner_that_was_stopped_dies_with_all_its_kin(start):
    runner, _ = await start("family")
    async for message in runner.messages():
        if isinstance(message, Progress) and "child" in message.message:
            child = int(message.step)
            os.killpg(runner.pid, signal.SIGSTOP)
            runner.kill()
    assert runner.returncode == -signal.SIGKILL
    await until_gone(child, 2)


SUPERVISOR = """
import asyncio, os, sys
from pathlib import Path
from workers.process import RunnerProcess

async def main():
    descriptor = os.open(sys.argv[1], os.O_RDONLY)
    runner = await RunnerProcess.start(sys.argv[2:], Path(sys.argv[1]), dict(os.environ), keep_open=descriptor)
    async for message in runner.messages():
        if "child" in getattr(message, "message", ""):
            print(runner.pid, int(message.step), flush=True)

asyncio.run(main())
"""


@pytest.mark.chaos
@pytest.mark.parametrize("victims", ["supervisor", "runner, then supervisor", "both at once", "stopped runner"])
def test_nothing_of_a_runner_outlives_its_supervisor(tmp_path: Path, assign, runner_argv, runner_environment, victims):
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    write_task(work_dir, assign("family"))
    argv = [sys.executable, "-c", SUPERVISOR, str(work_dir), *runner_argv]
    with subprocess.Popen(argv, env=runner_environment, stdout=subprocess.PIPE, text=True) as supervisor:
        runner, child = map(int, supervisor.stdout.readline().split())
        if victims == "both at once":
            supervisor.send_signal(signal.SIGSTOP)
        if victims == "stopped runner":
            os.kill(runner, signal.SIGSTOP)
        elif victims != "supervisor":
            os.kill(runner, signal.SIGKILL)
        supervisor.kill()
    asyncio.run(until_gone(runner, 2))
    asyncio.run(until_gone(child, 2))
