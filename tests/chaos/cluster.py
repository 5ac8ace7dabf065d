"""A whole platform of real processes that can be broken piece by piece.

PostgreSQL, NATS, two coordinators, a gateway and some workers, each started again whenever it ends. Every connection
between them runs through a proxy of its own, and artifacts and scratch folders lie on small file systems.
Names: a service is `worker-1`, a link `worker-1:nats`, a disk `disk:work`, a stream `stream:STAGES`.
"""

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg

from luthier.client.aio import AsyncClient
from luthier.local.access import ensure_api_key
from luthier.local.child import ChildSpec
from luthier.local.home import Home
from luthier.local.nats import nats_child, nats_url
from luthier.local.ports import LOOPBACK, choose_ports
from luthier.local.postgres import database_url, postgres_child
from luthier.local.services import Wiring, coordinator_child, gateway_child, worker_child
from luthier.settings import ClientSettings
from luthier.subjects import STREAMS
from tests.chaos.disks import Disk, can_mount
from tests.chaos.proxy import Proxy
from tests.chaos.services import POLL_SECONDS, Service, until

REPOSITORY = Path(__file__).parents[2]
STAGES = "chaos_stages:STAGES"
COORDINATORS = ("coordinator-a", "coordinator-b")
DISKS = ("disk:artifacts", "disk:work")
DISK_MIB = 512
START_SECONDS = 10.0
_SOCKET = ".s.PGSQL.5432"


@dataclass(frozen=True)
class Shape:
    """How large the platform is and how quickly it acts."""

    num_workers: int = 3
    lease_seconds: float = 3.0
    reconcile_seconds: float = 0.5
    clock_seed: int | None = None
    """Makes the wall clocks of one coordinator and one worker jump."""

    @property
    def workers(self) -> tuple[str, ...]:
        """Names of the workers."""
        return tuple(f"worker-{number}" for number in range(1, self.num_workers + 1))

    @property
    def links(self) -> tuple[str, ...]:
        """Names of the connections that can be broken."""
        inner = [f"{name}:{peer}" for name in COORDINATORS for peer in ("postgres", "nats")]
        outer = [f"{name}:{peer}" for name in ("gateway", *self.workers) for peer in COORDINATORS]
        return (*inner, *outer, *(f"{name}:nats" for name in self.workers))

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that can be broken here."""
        services = ("postgres", "nats", "gateway", *COORDINATORS, *self.workers)
        disks = DISKS if can_mount() else ()
        return (*services, *self.links, *disks, *(f"stream:{name}" for name in STREAMS))


class Cluster:
    """The running platform. Use `running`."""

    def __init__(self, home: Home, shape: Shape) -> None:
        self.home = home
        self.shape = shape
        self.disks = {
            name: Disk(home.path / name.removeprefix("disk:"), DISK_MIB) for name in shape.names if name in DISKS
        }
        ports = choose_ports(("nats", "gateway", *COORDINATORS, *(name for name in shape.links if _has_port(name))), {})
        self._ports = ports
        self.links = {name: self._proxy(name) for name in shape.links}
        self.services = {service.name: service for service in map(Service, self._specs())}

    @property
    def database_url(self) -> str:
        """Past every proxy."""
        return database_url(self.home)

    @property
    def nats_url(self) -> str:
        """Past every proxy."""
        return nats_url(self.home, self._ports["nats"])

    def client(self) -> AsyncClient:
        """The SDK, by way of the gateway."""
        return AsyncClient(
            self._address("gateway"),
            self.home.api_key(),
            timeout_seconds=5.0,
            settings=ClientSettings(home=self.home.path),
        )

    async def database(self) -> asyncpg.Connection:
        """A connection of our own; waits until PostgreSQL is there."""
        while True:
            with suppress(OSError, asyncpg.PostgresError, TimeoutError):
                return await asyncpg.connect(self.database_url, timeout=2, command_timeout=60)
            await asyncio.sleep(POLL_SECONDS)

    async def restart_armed(self, name: str, point: str) -> None:
        """Kills a coordinator or worker; it comes back to die once more, at a point of crash_points.py."""
        service = self.services[name]
        safe, num_starts = service.spec, service.num_starts

        async def has_started() -> bool:
            return service.num_starts > num_starts

        service.spec = self._armed(safe, point)
        service.end()
        await until(has_started, START_SECONDS)
        service.spec = safe

    async def start(self) -> None:
        """Starts everything, and returns once jobs can be submitted."""
        for link in self.links.values():
            await link.start()
        for name in ("postgres", "nats", *COORDINATORS, "gateway"):
            self.services[name].start()
            await self.services[name].answers()
        await ensure_api_key(self.home, self._address(COORDINATORS[0]))
        for name in self.shape.workers:
            self.services[name].start()

    async def close(self) -> None:
        """Ends everything at once."""
        for service in self.services.values():
            await service.stop()
        for link in self.links.values():
            await link.close()

    def _specs(self) -> Sequence[ChildSpec]:
        shape = self.shape
        sockets = {name: f"postgresql://postgres@/luthier?host={self._socket(name).parent}" for name in COORDINATORS}
        made = [postgres_child(self.home), nats_child(self.home, self._ports["nats"])]
        timing = {
            "LUTHIER_LEASE": f"{shape.lease_seconds}s",
            "LUTHIER_RECONCILE_INTERVAL": f"{shape.reconcile_seconds}s",
            "LUTHIER_QUARANTINE": "1s",
        }
        for name in COORDINATORS:
            wiring = self._wiring(name, address=self._address(name), database=sockets[name])
            made.append(self._own(replace(coordinator_child(self.home, wiring), name=name), timing))
        made.append(self._own(gateway_child(self.home, self._wiring("gateway", self._addresses("gateway"))), {}))
        for name in shape.workers:
            wiring = self._wiring(name, address=self._addresses(name))
            scratch = {"LUTHIER_WORK_DIR": str(self.home.work / name), "LUTHIER_HEARTBEAT_TIMEOUT": "2s"}
            made.append(self._own(replace(worker_child(self.home, wiring, "cpu", name), name=name), scratch))
        return made

    def _wiring(self, name: str, address: str, database: str = "") -> Wiring:
        port = self._ports.get(f"{name}:nats", self._ports["nats"])
        return Wiring(
            database_url=database,
            nats_url=nats_url(self.home, port),
            artifacts=str(self.home.artifacts),
            coordinator=address,
            gateway=self._address("gateway"),
            triton_url="",
            triton_unavailable_reason="no Triton here",
            triton_repository=self.home.triton,
        )

    def _own(self, spec: ChildSpec, variables: Mapping[str, str]) -> ChildSpec:
        """A process of ours: with its own log, our stages on its path, and one thread for its sums."""
        paths = os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "tests" / "stages")))
        common = {"PYTHONPATH": paths, "LUTHIER_LOG_FORMAT": "text", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        environment = {**spec.environment, **common, **variables}
        return self._armed(replace(spec, log=self.home.log(spec.name), environment=environment), "")

    def _armed(self, spec: ChildSpec, crash_at: str) -> ChildSpec:
        module = re.sub(r"-\w+$", "", spec.name)
        program = {"coordinator": "coordinator", "worker": "workers", "gateway": "gateway"}[module]
        arguments = ["--stages", STAGES] if program == "workers" else []
        how = ["--crash-at", crash_at] if crash_at else []
        if self.shape.clock_seed is not None and spec.name in ("coordinator-b", "worker-2"):
            how += ["--jumping-clock", str(self.shape.clock_seed)]
        start = ["-m", "tests.chaos.child", *how, program] if how else ["-m", program]
        return replace(spec, argv=(sys.executable, "-P", *start, *arguments))

    def _addresses(self, name: str) -> str:
        """Every way from `name` to a coordinator."""
        return ",".join(self._address(f"{name}:{peer}") for peer in COORDINATORS)

    def _address(self, name: str) -> str:
        return f"{LOOPBACK}:{self._ports[name]}"

    def _socket(self, name: str) -> Path:
        folder = self.home.path / name
        folder.mkdir(exist_ok=True)
        return folder / _SOCKET

    def _proxy(self, name: str) -> Proxy:
        source, _, peer = name.partition(":")
        if peer == "postgres":
            return Proxy(Path(database_url(self.home).partition("host=")[2]) / _SOCKET, self._socket(source))
        return Proxy(self._ports[peer], self._ports[name])


def _has_port(link: str) -> bool:
    return not link.endswith(":postgres")


@asynccontextmanager
async def running(shape: Shape) -> AsyncIterator[Cluster]:
    """A platform that does its work. In the end nothing of it is left, whatever happened in between."""
    # Not under pytest's folder: as root PostgreSQL is another user, who cannot get through there.
    with tempfile.TemporaryDirectory(prefix="luthier-chaos-", ignore_cleanup_errors=True) as folder:
        home = Home(Path(folder))
        home.create()
        async with AsyncExitStack() as stack:
            cluster = Cluster(home, shape)
            for disk in cluster.disks.values():
                disk.mount()
                stack.callback(disk.unmount)
            stack.push_async_callback(cluster.close)
            await cluster.start()
            yield cluster
