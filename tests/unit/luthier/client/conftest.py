"""Both clients with one face, so that each test runs against each."""

import asyncio
from collections.abc import Iterator

import pytest

from luthier.client import AsyncClient, Client

API_KEY = "lk_" + "k" * 43


class Asynchronous:
    """The async client with the face of the blocking one, so that each test runs against both."""

    def __init__(self, address: str) -> None:
        self._runner = asyncio.Runner()
        self._address = address

    def _do(self, operation):
        async def run():
            async with AsyncClient(self._address, API_KEY) as client:
                return await operation(client)

        return self._runner.run(run())

    def __getattr__(self, name):
        return lambda *args, **kwargs: self._do(lambda client: getattr(client, name)(*args, **kwargs))

    def stream(self, name, *args, **kwargs):
        async def collect(client):
            return [item async for item in getattr(client, name)(*args, **kwargs)]

        return self._do(collect)

    def nested(self, group, name, *args, **kwargs):
        return self._do(lambda client: getattr(getattr(client, group), name)(*args, **kwargs))

    def close(self):
        self._runner.close()


class Synchronous:
    """The blocking client with the few names that tests use for both."""

    def __init__(self, address: str) -> None:
        self._client = Client(address, API_KEY)

    def __getattr__(self, name):
        return getattr(self._client, name)

    def stream(self, name, *args, **kwargs):
        return list(getattr(self._client, name)(*args, **kwargs))

    def nested(self, group, name, *args, **kwargs):
        return getattr(getattr(self._client, group), name)(*args, **kwargs)


@pytest.fixture(params=[Synchronous, Asynchronous], ids=["sync", "async"])
def client(request, address: str) -> Iterator[Synchronous | Asynchronous]:
    """Each of the two clients."""
    made = request.param(address)
    yield made
    made.close()
