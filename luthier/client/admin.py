"""`client.workers` and `client.dead_letters`: the installation itself. They need a key with `admin.*`."""

from typing import TYPE_CHECKING

from luthier.client import calls
from luthier.client.types import DeadLetter, Worker

if TYPE_CHECKING:
    from luthier.client.aio import AsyncClient
    from luthier.client.sync import Client


class AsyncWorkers:
    """`client.workers`: what runs the stages."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def list(self, limit: int = 50) -> list[Worker]:
        """Those heard of last come first."""
        return await self._client.run(calls.list_workers(limit))

    async def release(self, worker_id: str) -> Worker:
        """Ends a quarantine; a repeat changes nothing."""
        return await self._client.run(calls.release_worker(worker_id))


class AsyncDeadLetters:
    """`client.dead_letters`: what could not be handled."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def list(self, limit: int = 50, include_retried: bool = False) -> list[DeadLetter]:
        """The newest, newest first."""
        return await self._client.run(calls.list_dead_letters(limit, include_retried))

    async def retry(self, dead_letter_id: str) -> DeadLetter:
        """Has it handled again; a repeat changes nothing. What fails again becomes a new dead letter."""
        return await self._client.run(calls.retry_dead_letter(dead_letter_id))


class Workers:
    """`client.workers`: what runs the stages."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(self, limit: int = 50) -> list[Worker]:
        """Those heard of last come first."""
        return self._client.run(calls.list_workers(limit))

    def release(self, worker_id: str) -> Worker:
        """Ends a quarantine; a repeat changes nothing."""
        return self._client.run(calls.release_worker(worker_id))


class DeadLetters:
    """`client.dead_letters`: what could not be handled."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(self, limit: int = 50, include_retried: bool = False) -> list[DeadLetter]:
        """The newest, newest first."""
        return self._client.run(calls.list_dead_letters(limit, include_retried))

    def retry(self, dead_letter_id: str) -> DeadLetter:
        """Has it handled again; a repeat changes nothing. What fails again becomes a new dead letter."""
        return self._client.run(calls.retry_dead_letter(dead_letter_id))
