"""From the death of a worker to its stage running elsewhere: real coordinator, real workers, a stage that never ends.

Two workers wait. Each round submits a job, takes the worker that runs it away, and measures until the coordinator has
recorded the next attempt on the other one, both by this machine's clock. A worker is taken away in two ways: `killed`,
SIGKILL to the supervisor, or `frozen`, SIGSTOP to the supervisor and its runner. A frozen one is woken afterwards, and
the time until its runner is dead is measured too. Every round has a fresh job and a fresh worker in place of the lost
one, so that no back-off and no quarantine is in the figures.

With the default settings a round takes a lease, 15 s, and more. Prints one JSON object to stdout, a table to stderr.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from support.figures import percentiles, table
from support.servers import Servers, servers

from luthier.local.child import Child
from luthier.local.services import Wiring

TARGET_SECONDS = {"15s": 20.0, "3s": 5.0}
RUNNER_TARGET_SECONDS = 5.0
_POLL_SECONDS = 0.02
_ROUND_SECONDS = 180.0


@dataclass(frozen=True)
class Start:
    """An attempt as the coordinator has recorded it."""

    attempt: int
    worker_id: str
    time: float
    """Seconds since the epoch."""


@dataclass
class Fleet:
    """The workers of one coordinator."""

    running: Servers
    wiring: Wiring
    database: str
    workers: dict[str, Child] = field(default_factory=dict)
    num_started: int = 0

    async def fill(self) -> None:
        """Starts workers until there are two."""
        while len(self.workers) < 2:
            self.num_started += 1
            worker_id = f"{self.database}_{self.num_started}"
            self.workers[worker_id] = await self.running.start_worker(self.wiring, worker_id, "bench_stages:ENDLESS")

    async def started(self, job_id: str, after_attempt: int) -> Start:
        """The next attempt at the job's first stage, once there is one."""
        query = f"""
            SELECT attempt, worker_id, extract(epoch FROM started_time)::float8 FROM stage
            WHERE job_id = '{job_id}' AND state = 'RUNNING' AND attempt > {after_attempt}"""  # noqa: S608 - our own id
        async with asyncio.timeout(_ROUND_SECONDS):
            while not (rows := await self.running.query(self.database, query)):  # noqa: ASYNC110 - rows tell nobody
                await asyncio.sleep(_POLL_SECONDS)
        return Start(*rows[0])


def main() -> int:
    """Runs the benchmark; 1 when a stage was not taken over in time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="workers killed, and workers frozen, with each lease")
    parser.add_argument("--leases", nargs="+", choices=TARGET_SECONDS, default=list(TARGET_SECONDS))
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="luthier-failover-") as folder:
        rows = asyncio.run(measure(Path(folder), arguments))
    print(table(rows), file=sys.stderr)
    print(json.dumps({"benchmark": "failover", "measurements": rows, "num_cpus": os.cpu_count()}))
    return 0 if all(row["p99_s"] <= row["target_s"] for row in rows) else 1


async def measure(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One setting after the other, each with its own coordinator and database."""
    rows = []
    async with servers(folder) as running:
        for lease in arguments.leases:
            database = await running.create_database(f"lease_{lease}")
            wiring = await running.start_coordinator(database, lease=lease)
            fleet = Fleet(running, wiring, database)
            for fault in arguments.faults:
                rows.append(await measure_fault(fleet, fault, lease, arguments.rounds))
                print(table(rows[-1:]), file=sys.stderr)
            for worker in fleet.workers.values():
                await worker.stop()
    return rows


async def measure_fault(fleet: Fleet, fault: str, lease: str, num_rounds: int) -> dict[str, Any]:
    """So many rounds of one fault."""
    load_before = os.getloadavg()[0]
    rounds = [await FAULTS[fault](fleet) for _ in range(num_rounds)]
    taken_over = percentiles([seconds for seconds, _ in rounds])
    woken = [seconds for _, seconds in rounds if seconds is not None]
    return {
        "lease": lease,
        "fault": fault,
        "rounds": num_rounds,
        **{f"{name}_s": value for name, value in taken_over.items()},
        "target_s": TARGET_SECONDS[lease],
        "runner_dead_after_waking_max_s": round(max(woken), 2) if woken else None,
        "runner_target_s": RUNNER_TARGET_SECONDS if woken else None,
        "machine_load_before": round(load_before, 2),
    }


async def kill(fleet: Fleet) -> tuple[float, None]:
    """SIGKILL to the supervisor; the kernel ends its runner. Seconds until the stage runs elsewhere."""
    job_id, first, worker = await _running_job(fleet)
    began = time.time()
    os.kill(_pid(worker), signal.SIGKILL)
    second = await fleet.started(job_id, first.attempt)
    await _retire(fleet, job_id, worker)
    return second.time - began, None


async def freeze(fleet: Fleet) -> tuple[float, float]:
    """SIGSTOP to supervisor and runner: seconds until the stage runs elsewhere; SIGCONT: until the runner is dead."""
    job_id, first, worker = await _running_job(fleet)
    runners = psutil.Process(_pid(worker)).children(recursive=True)
    stopped = [_pid(worker), *(runner.pid for runner in runners)]
    began = time.time()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    second = await fleet.started(job_id, first.attempt)
    woken = time.monotonic()
    for pid in stopped:
        with suppress(ProcessLookupError):  # the supervisor, which wakes first, may have killed its runner already
            os.kill(pid, signal.SIGCONT)
    await asyncio.to_thread(psutil.wait_procs, runners, _ROUND_SECONDS)
    dead_after = time.monotonic() - woken
    await _retire(fleet, job_id, worker)
    return second.time - began, dead_after


FAULTS = {"killed": kill, "frozen": freeze}


async def _running_job(fleet: Fleet) -> tuple[str, Start, Child]:
    """A job whose first stage runs, in a runner process, on one of two workers; the other one is idle."""
    await fleet.fill()
    job_id = await fleet.running.submit(fleet.wiring, "failover")
    first = await fleet.started(job_id, 0)
    worker = fleet.workers.pop(first.worker_id)
    async with asyncio.timeout(_ROUND_SECONDS):
        while not psutil.Process(_pid(worker)).children():  # noqa: ASYNC110 - a process tells nobody
            await asyncio.sleep(_POLL_SECONDS)
    return job_id, first, worker


async def _retire(fleet: Fleet, job_id: str, worker: Child) -> None:
    """Ends the job and the worker that was taken away."""
    await fleet.running.cancel(fleet.wiring, job_id)
    await worker.stop()


def _pid(worker: Child) -> int:
    process = worker.record.process
    assert process is not None, "it was started and not stopped"
    return process.pid


if __name__ == "__main__":
    sys.exit(main())
