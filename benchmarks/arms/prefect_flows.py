"""Prefect's arm: flows of five no-op tasks in this process, recorded by a Prefect server in PostgreSQL.

Arguments: how many flows are in flight, how many in all. The server is found by PREFECT_API_URL. Runs in
Prefect's own environment. Prints one JSON object: `{"steps": [[job, number, start, end], ...]}`, seconds of the
monotonic clock.
"""

import asyncio
import json
import sys
import time

from prefect import flow, task

NUM_STEPS = 5
rows: list[tuple[str, int, float, float]] = []
waiting = asyncio.Semaphore(0)
go = asyncio.Event()


@task
async def step(job: str, number: int) -> int:
    """Does nothing."""
    start = time.monotonic()
    rows.append((job, number, start, time.monotonic()))
    return number


@flow
async def job(name: str) -> None:
    """Five tasks, one after the other."""
    waiting.release()
    await go.wait()
    for number in range(NUM_STEPS):
        await step(name, number)


async def run(num_in_flight: int, num_jobs: int) -> None:
    """Has `num_in_flight` flows waiting, lets them go, and starts a further one whenever one has ended."""

    async def keep_going(chain: int) -> None:
        for number in range(chain, num_jobs, num_in_flight):
            await job(str(number))

    flows = [asyncio.create_task(keep_going(chain)) for chain in range(num_in_flight)]
    for _ in flows:
        await waiting.acquire()
    go.set()
    await asyncio.gather(*flows)
    print(json.dumps({"steps": rows}), flush=True)


if __name__ == "__main__":
    asyncio.run(run(*map(int, sys.argv[1:])))
