"""A link between two processes that can be cut, go silent, or become slow. TCP, or a unix socket on both sides."""

import asyncio
import random
from collections.abc import Awaitable
from enum import Enum
from pathlib import Path
from typing import Any

BLOCK_BYTES = 1 << 16
SLOW_SECONDS = (0.02, 0.2)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Mode(Enum):
    """What becomes of the bytes."""

    PASS = "pass"
    CUT = "cut"
    """Connections are closed, new ones are refused."""
    HALF_OPEN = "half-open"
    """Connections stay, new ones are accepted, and nothing arrives. Closed when the mode ends, as bytes are lost."""
    SLOW = "slow"


class Proxy:
    """One listener that passes everything on to one server."""

    def __init__(self, upstream: int | Path, listen: int | Path) -> None:
        """Loopback ports, or paths of unix sockets."""
        self._upstream = upstream
        self._listen = listen
        self._mode = Mode.PASS
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def mode(self) -> Mode:
        """What becomes of the bytes now."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        if mode is Mode.CUT or self._mode is Mode.HALF_OPEN:
            for writer in self._writers:
                writer.transport.abort()
        self._mode = mode

    async def start(self) -> None:
        """Listens."""
        if isinstance(self._listen, Path):
            self._server = await asyncio.start_unix_server(self._accept, self._listen)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._listen)

    async def close(self) -> None:
        """Stops listening and closes what is open."""
        if self._server is not None:
            self._server.close()
        self.mode = Mode.CUT
        if self._connections:
            await asyncio.wait(self._connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode is Mode.CUT:
            writer.transport.abort()
            return
        try:
            upstream_reader, upstream_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, upstream_writer}
        self._writers |= pair
        try:
            # As soon as one direction has ended, so has the connection.
            pumps = [self._pump(reader, upstream_writer), self._pump(upstream_reader, writer)]
            await _first_of(pumps)
        finally:
            self._writers -= pair
            for each in pair:
                each.transport.abort()

    def _connect(self) -> Awaitable[Streams]:
        if isinstance(self._upstream, Path):
            return asyncio.open_unix_connection(self._upstream)
        return asyncio.open_connection("127.0.0.1", self._upstream)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(BLOCK_BYTES):
                if self._mode is Mode.SLOW:
                    await asyncio.sleep(random.uniform(*SLOW_SECONDS))
                if self._mode is Mode.HALF_OPEN:
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            return


async def _first_of(coroutines: list[Any]) -> None:
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
