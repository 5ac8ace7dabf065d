"""From the end of one step to the start of the next: the platform beside DBOS and Prefect, in one run.

Every arm runs jobs of five steps that do nothing and keeps them in a fresh database of the same PostgreSQL server, one
arm after the other. The hand-off is measured where the steps run: a step has returned -> the next step of the same job
begins. Ours crosses processes on the way: worker -> coordinator and PostgreSQL -> worker, which is given the next step
with the answer; in a second arm everything goes the long way, by way of nats-server to whichever worker is free. The
worker's side is its real queue and channel, but an attempt starts no runner process; what that costs is measured beside
it.
DBOS calls its steps inside one process. Prefect's tasks run inside one process too, and its server records them
afterwards, out of the way of the next task.

All jobs of a measurement wait when the clock starts, except with one in flight: there a job is submitted when the one
before has ended. Prints one JSON object to stdout and a table to stderr. The others are installed from the package
index into virtual environments below `--cache`.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from support import contenders
from support.contenders import Load, Step
from support.figures import percentiles, table
from support.servers import Servers, servers

NUM_STEPS = 5
TARGET_ALONE_MS = 15.0
ARMS = {
    "luthier": contenders.luthier,
    "luthier_bus": partial(contenders.luthier, over_the_bus=True),
    "dbos": contenders.dbos,
    "prefect": contenders.prefect,
}
PREFECT_MOST = 100
"""Jobs in flight; more take Prefect longer than anybody waits."""


def main() -> int:
    """Runs the benchmark; 1 when a step was lost, because then the times mean nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 100, 1000], help="jobs in flight")
    parser.add_argument("--jobs-alone", type=int, default=40, help="jobs one after the other, with one in flight")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each measurement; the median one is kept")
    parser.add_argument("--slots", type=int, default=16, help="slots of the platform's workers")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "luthier-benchmarks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="luthier-handoff-") as folder:
        report = asyncio.run(measure(Path(folder), arguments))
    print(json.dumps(report))
    return 0 if all(row["num_lost"] == 0 for row in report["measurements"]) else 1


async def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole run."""
    measurements = []
    postgres = await asyncio.to_thread(contenders.postgres_binaries, arguments.cache)
    async with servers(folder, postgres) as running:
        for num_in_flight in arguments.in_flight:
            num_jobs = arguments.jobs_alone if num_in_flight == 1 else num_in_flight
            load = Load(num_in_flight, num_jobs, arguments.slots, arguments.cache)
            arms = [arm for arm in arguments.arms if arm != "prefect" or num_in_flight <= PREFECT_MOST]
            runs: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
            for _ in range(arguments.repeats):
                for arm in arms:
                    runs[arm].append(await run_arm(running, arm, load))
            measurements += [median_run(runs[arm]) for arm in arms]
        attempt_seconds = await measure_attempt(running) if "luthier" in arguments.arms else None
    columns = ("arm", "in_flight", "handoff_p50_ms", "handoff_p99_ms", "steps_per_second", "num_steps", "num_lost")
    print(table([{name: row[name] for name in columns} for row in measurements]), file=sys.stderr)
    if attempt_seconds is not None:
        print(f"not in it: a runner process and its attempt, {attempt_seconds:.2f} s a stage", file=sys.stderr)
    return {
        "benchmark": "handoff",
        "measurements": measurements,
        "target_alone_p50_ms": TARGET_ALONE_MS,
        "num_slots": arguments.slots,
        "repeats": arguments.repeats,
        "prefect_most_in_flight": PREFECT_MOST,
        "attempt_with_runner_seconds": attempt_seconds,
        "versions": {
            "python": platform.python_version(),
            **dict(pin.split("==") for pin in contenders.ALL_PINS),
        },
        "num_cpus": os.cpu_count(),
    }


async def run_arm(running: Servers, arm: str, load: Load) -> dict[str, Any]:
    """One measurement of one arm in a database of its own."""
    database = await running.create_database(arm)
    load_before = os.getloadavg()[0]
    outcome = await ARMS[arm](running, load, database)
    handoffs = percentiles(handoffs_ms(outcome.steps))
    seconds = max(step[3] for step in outcome.steps) - min(step[2] for step in outcome.steps)
    row = {
        "arm": arm,
        "in_flight": load.num_in_flight,
        "handoff_p50_ms": handoffs["p50"],
        "handoff_p99_ms": handoffs["p99"],
        "steps_per_second": round(len(outcome.steps) / seconds, 1),
        "num_steps": NUM_STEPS * load.num_jobs,
        "num_lost": NUM_STEPS * load.num_jobs - outcome.num_recorded,
        "machine_load_before": round(load_before, 2),
        **outcome.further,
    }
    print(table([row]), file=sys.stderr)
    return row


def handoffs_ms(steps: Sequence[Step]) -> list[float]:
    """From the end of each step to the start of the next one of the same job, in milliseconds."""
    by_job: defaultdict[str, dict[int, Step]] = defaultdict(dict)
    for step in steps:
        by_job[step[0]][step[1]] = step
    return [
        (job[number + 1][2] - job[number][3]) * 1000
        for job in by_job.values()
        for number in range(NUM_STEPS - 1)
        if number in job and number + 1 in job
    ]


def median_run(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The run in the middle by its median hand-off; a lost step of any run counts."""
    rows = sorted(rows, key=lambda row: float(row["handoff_p50_ms"]))
    return {**rows[len(rows) // 2], "num_lost": sum(row["num_lost"] for row in rows)}


async def measure_attempt(running: Servers) -> float:
    """Median seconds of a whole no-op attempt with a real worker: workspace, runner process, outcome, clean-up."""
    database = await running.create_database("attempt")
    wiring = await running.start_coordinator(database)
    await running.start_worker(wiring, "attempt", "bench_stages:NOOP")
    await running.submit(wiring, "attempt")
    query = "SELECT extract(epoch FROM finished_time - started_time)::float8 FROM stage WHERE state = 'SUCCEEDED'"
    async with asyncio.timeout(120):
        while len(rows := await running.query(database, query)) < NUM_STEPS:  # noqa: ASYNC110 - rows tell nobody
            await asyncio.sleep(0.2)
    return round(statistics.median(row[0] for row in rows), 3)


if __name__ == "__main__":
    sys.exit(main())
