"""DBOS's arm: workflows of five no-op steps, run by DBOS in this process, recorded in PostgreSQL.

Arguments: database URL, how many workflows are in flight, how many in all, `threads` or `coroutines`. Prints one JSON
object: `{"steps": [[job, number, start, end], ...]}`, seconds of the monotonic clock. Runs in DBOS's own environment.
"""

import asyncio
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS, DBOSConfig

NUM_STEPS = 5
rows: list[tuple[str, int, float, float]] = []
go = threading.Event()
go_async = asyncio.Event()


@DBOS.step()
def step(job: str, number: int) -> int:
    """Does nothing."""
    start = time.monotonic()
    rows.append((job, number, start, time.monotonic()))
    return number


@DBOS.workflow()
def job_in_thread(job: str) -> None:
    """Five steps, one after the other."""
    go.wait()
    for number in range(NUM_STEPS):
        step(job, number)


@DBOS.step()
async def step_async(job: str, number: int) -> int:
    """Does nothing."""
    start = time.monotonic()
    rows.append((job, number, start, time.monotonic()))
    return number


@DBOS.workflow()
async def job_in_coroutine(job: str) -> None:
    """Five steps, one after the other."""
    await go_async.wait()
    for number in range(NUM_STEPS):
        await step_async(job, number)


def run_in_threads(num_in_flight: int, num_jobs: int) -> None:
    """Has `num_in_flight` workflows waiting, lets them go, and starts a further one whenever one has ended."""
    handles = [DBOS.start_workflow(job_in_thread, str(number)) for number in range(num_in_flight)]

    def keep_going(chain: int) -> None:
        handles[chain].get_result()
        for number in range(chain + num_in_flight, num_jobs, num_in_flight):
            DBOS.start_workflow(job_in_thread, str(number)).get_result()

    with ThreadPoolExecutor(num_in_flight) as waiters:
        go.set()
        list(waiters.map(keep_going, range(num_in_flight)))


async def run_in_coroutines(num_in_flight: int, num_jobs: int) -> None:
    """The same on one event loop."""
    handles = [await DBOS.start_workflow_async(job_in_coroutine, str(number)) for number in range(num_in_flight)]

    async def keep_going(chain: int) -> None:
        await handles[chain].get_result()
        for number in range(chain + num_in_flight, num_jobs, num_in_flight):
            await (await DBOS.start_workflow_async(job_in_coroutine, str(number))).get_result()

    go_async.set()
    await asyncio.gather(*(keep_going(chain) for chain in range(num_in_flight)))


def main() -> None:
    """Runs the arm."""
    url, in_flight, jobs, mode = sys.argv[1:]
    config: DBOSConfig = {
        "name": "handoff",
        "system_database_url": url,
        "log_level": "ERROR",
        "max_executor_threads": int(in_flight) + 8,
    }
    DBOS(config=config)
    DBOS.launch()
    if mode == "threads":
        run_in_threads(int(in_flight), int(jobs))
    else:
        asyncio.run(run_in_coroutines(int(in_flight), int(jobs)))
    print(json.dumps({"steps": rows}), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main()
