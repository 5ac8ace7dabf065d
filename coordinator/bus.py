"""The connection to NATS, kept up for ever, and the streams. Nothing of the coordinator fails because NATS is away."""

import asyncio
import logging

import nats
from nats import errors as nats_errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from luthier.subjects import STREAMS

CONNECT_TIMEOUT_SECONDS = 5
RECONNECT_WAIT_SECONDS = 0.5
# A half-open connection is noticed after two missed pings.
PING_INTERVAL_SECONDS = 10
MAX_OUTSTANDING_PINGS = 2

log = logging.getLogger(__name__)


class Bus:
    """One connection per process."""

    def __init__(self, url: str) -> None:
        """Connects to nothing yet."""
        self._url = url
        self._client: Client | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached at this moment."""
        return self._client is not None and self._client.is_connected

    @property
    def max_payload(self) -> int:
        """Largest message, with its headers, that the server takes, in bytes.

        Raises:
            nats.errors.Error: there is no connection.
        """
        return int(self._connected().max_payload)

    def jetstream(self) -> JetStreamContext:
        """JetStream of the present connection.

        Raises:
            nats.errors.Error: there is no connection.
        """
        return self._connected().jetstream()

    def _connected(self) -> Client:
        if self._client is None or not self._client.is_connected:
            raise nats_errors.ConnectionClosedError
        return self._client

    async def run(self) -> None:
        """Stays connected until cancelled."""
        while True:
            closed = asyncio.Event()
            try:
                self._client = await self._connect(closed)
                log.info("connected to NATS")
                await closed.wait()
            except (nats_errors.Error, OSError) as error:
                log.warning("NATS does not answer: %r", error)
            finally:
                await self._close()
            await asyncio.sleep(RECONNECT_WAIT_SECONDS)

    async def _connect(self, closed: asyncio.Event) -> Client:
        async def on_closed() -> None:
            closed.set()

        async def on_disconnected() -> None:
            log.warning("the connection to NATS is lost")

        async def on_error(error: Exception) -> None:
            log.debug("NATS: %r", error)

        return await nats.connect(
            self._url,
            name="luthier-coordinator",
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT_SECONDS,
            ping_interval=PING_INTERVAL_SECONDS,
            max_outstanding_pings=MAX_OUTSTANDING_PINGS,
            closed_cb=on_closed,
            disconnected_cb=on_disconnected,
            error_cb=on_error,
        )

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


async def find_stream(stream: JetStreamContext, name: str) -> StreamConfig | None:
    """How the stream is configured; None when it is not there."""
    try:
        return (await stream.stream_info(name)).config
    except NotFoundError:
        return None


async def put_stream(stream: JetStreamContext, name: str, present: StreamConfig | None) -> None:
    """Makes the stream, or gives the one that is `present` our configuration; what an operator added stays."""
    wanted = STREAMS[name]
    if present is None:
        await stream.add_stream(StreamConfig(name=name, **wanted))
    elif any(getattr(present, key) != value for key, value in wanted.items()):
        await stream.update_stream(present.evolve(**wanted))
