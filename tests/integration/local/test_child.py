"""Child processes: started, restarted, stopped, and never left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from luthier.local.child import Child, ChildError, ChildSpec
from luthier.local.state import ChildState

READY = "import pathlib, time, sys; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110, another process changes it
            await asyncio.sleep(0.01)


def spec(folder: Path, program: str, **changes: object) -> ChildSpec:
    ready = folder / "ready"

    async def answers() -> bool:
        return ready.exists()

    async def prepare() -> None:
        ready.unlink(missing_ok=True)

    values: dict[str, object] = {
        "name": "thing",
        "argv": (sys.executable, "-c", program, str(ready)),
        "log": folder / "thing.log",
        "answers": answers,
        "environment": {"PATH": os.environ["PATH"]},
        "prepare": prepare,
    }
    return ChildSpec(**{**values, **changes})  # type: ignore[arg-type]


def pid_of(child: Child) -> int:
    assert child.record.process is not None
    return child.record.process.pid


async def test_a_crashed_child_is_started_again_and_counted(tmp_path: Path) -> None:
    states: list[ChildState] = []
    child = Child(spec(tmp_path, READY), lambda: states.append(child.record.state))
    await child.start()
    supervision = asyncio.create_task(child.supervise())
    first = pid_of(child)
    os.kill(first, signal.SIGKILL)
    await until(lambda: child.record.restarts == 1 and child.record.state is ChildState.RUNNING)
    assert pid_of(child) != first
    assert ChildState.RESTARTING in states
    supervision.cancel()
    second = pid_of(child)
    await child.stop()
    assert not psutil.pid_exists(second)
    assert child.record.state is ChildState.STOPPED


async def test_a_child_that_exits_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, "raise SystemExit('no such database')"), lambda: None)
    with pytest.raises(ChildError, match=r"thing exited with status 1.*\n.*no such database"):
        await child.start()
    await child.stop()
    assert child.record.state is ChildState.FAILED


async def test_a_child_that_never_answers_is_an_error_and_is_stopped(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, "import time; time.sleep(600)", start_seconds=0.5), lambda: None)
    with pytest.raises(ChildError, match="did not answer within"):
        await child.start()
    pid = pid_of(child)
    await child.stop()
    assert not psutil.pid_exists(pid)


async def test_a_child_that_does_not_leave_is_killed_with_its_kin(tmp_path: Path) -> None:
    stubborn = (
        "import signal, subprocess, sys, pathlib\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "kin = subprocess.Popen(['sleep', '600'])\n"
        "pathlib.Path(sys.argv[1]).write_text(str(kin.pid))\n"
        "kin.wait()\n"
    )
    child = Child(spec(tmp_path, stubborn, stop_seconds=0.3), lambda: None)
    await child.start()
    await until(lambda: bool((tmp_path / "ready").read_text()))
    kin = int((tmp_path / "ready").read_text())
    await child.stop()
    await until(lambda: not psutil.pid_exists(kin) or psutil.Process(kin).status() == psutil.STATUS_ZOMBIE)


async def test_a_child_sees_only_the_environment_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "secret")
    program = f"import os; print(sorted(os.environ), flush=True); {READY}"
    child = Child(spec(tmp_path, program, environment={"ONLY": "this"}), lambda: None)
    await child.start()
    await child.stop()
    assert "SOME_TOKEN" not in child.spec.log.read_text()
    assert "'ONLY'" in child.spec.log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel has to help")
async def test_a_killed_launcher_takes_its_children_along(tmp_path: Path) -> None:
    program = f"""
import asyncio, importlib.util, pathlib
found = importlib.util.spec_from_file_location("parts", {str(Path(__file__))!r})
parts = importlib.util.module_from_spec(found)
found.loader.exec_module(parts)

async def main():
    child = parts.Child(parts.spec(pathlib.Path({str(tmp_path)!r}), parts.READY), lambda: None)
    await child.start()
    print(parts.pid_of(child), flush=True)
    await child.supervise()

asyncio.run(main())
"""
    launcher = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert launcher.stdout is not None
    pid = int(await launcher.stdout.readline())
    launcher.kill()
    await launcher.wait()
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


ANSWERING = """
import pathlib, socket, sys
server = socket.create_server(("127.0.0.1", 0))
pathlib.Path(sys.argv[1]).write_text(str(server.getsockname()[1]))
while True:
    connection, _ = server.accept()
    connection.sendall(b"here")
    connection.close()
"""


def watched(folder: Path) -> Child:
    async def responds() -> bool:
        try:
            async with asyncio.timeout(0.5):
                reader, writer = await asyncio.open_connection("127.0.0.1", int((folder / "ready").read_text()))
                said = await reader.read(4)
                writer.close()
                return said == b"here"
        except (OSError, ValueError, TimeoutError):
            return False

    changes = {"answers": responds, "responds": responds, "ask_every_seconds": 0.2, "num_silent": 4}
    return Child(spec(folder, ANSWERING, **changes), lambda: None)


async def test_a_child_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    child = watched(tmp_path)
    await child.start()
    supervision = asyncio.create_task(child.supervise())
    first = pid_of(child)
    os.kill(first, signal.SIGSTOP)
    await until(lambda: child.record.restarts == 1 and child.record.state is ChildState.RUNNING)
    assert not psutil.pid_exists(first)
    supervision.cancel()
    await child.stop()


async def test_a_child_that_is_slow_for_a_while_is_left_alone(tmp_path: Path) -> None:
    child = watched(tmp_path)
    await child.start()
    supervision = asyncio.create_task(child.supervise())
    for _ in range(3):
        os.kill(pid_of(child), signal.SIGSTOP)
        await asyncio.sleep(0.8)  # at most two questions
        os.kill(pid_of(child), signal.SIGCONT)
        await asyncio.sleep(0.8)
    assert child.record.restarts == 0
    supervision.cancel()
    await child.stop()


async def test_a_child_whose_watch_is_broken_is_not_run_on_unwatched(tmp_path: Path) -> None:
    async def broken() -> bool:
        raise RuntimeError("our own fault")

    child = Child(spec(tmp_path, READY, responds=broken, ask_every_seconds=0.05), lambda: None)
    await child.start()
    with pytest.raises(RuntimeError, match="our own fault"):
        await child.supervise()
    await child.stop()
