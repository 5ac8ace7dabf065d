"""grpc.health.v1: SERVING only while PostgreSQL answers and NATS is connected."""

import asyncio
import logging

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from coordinator.bus import Bus
from coordinator.store.engine import Database

CHECK_SECONDS = 1.0

log = logging.getLogger(__name__)


class Health:
    """The health of every service of this process; they stand and fall together."""

    def __init__(self, database: Database, bus: Bus, services: tuple[str, ...]) -> None:
        self._database = database
        self._bus = bus
        self._services = ("", *services)
        self._obstacle_told: str | None = None
        self.servicer = aio.HealthServicer()

    async def run(self) -> None:
        """Looks every second, for ever."""
        while True:
            await self._set(await self._obstacle())
            await asyncio.sleep(CHECK_SECONDS)

    async def stop(self) -> None:
        """NOT_SERVING from now on, whatever else is found."""
        await self.servicer.enter_graceful_shutdown()

    async def _obstacle(self) -> str:
        """Why we cannot do our work; empty when we can."""
        if not await self._database.answers():
            return "PostgreSQL does not answer"
        return "" if self._bus.is_connected else "NATS is not connected"

    async def _set(self, obstacle: str) -> None:
        if obstacle == self._obstacle_told:
            return
        self._obstacle_told = obstacle
        log.log(logging.WARNING if obstacle else logging.INFO, "health: %s", obstacle or "serving")
        response = health_pb2.HealthCheckResponse
        for service in self._services:
            await self.servicer.set(service, response.NOT_SERVING if obstacle else response.SERVING)
