"""Which children make up the local stack, in the order in which they start, and where they find each other."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from luthier.local.child import ChildSpec
from luthier.local.deployed import set_aside_damaged
from luthier.local.home import Home
from luthier.local.nats import nats_child, nats_url
from luthier.local.ports import LOOPBACK
from luthier.local.postgres import database_url, postgres_child
from luthier.local.services import Wiring, coordinator_child, gateway_child, has_accelerator, worker_child
from luthier.local.serving_venv import ServingUnavailableError, ensure_serving_venv
from luthier.local.triton import TritonPorts, triton_child
from luthier.settings import LocalSettings, system_environment

PORTS = ("coordinator", "gateway", "nats", "triton_grpc", "triton_http", "triton_metrics")


@dataclass(frozen=True)
class Stack:
    """What is started, and what clients are told."""

    children: tuple[ChildSpec, ...]
    """In the order of starting; stopped the other way round, so workers leave first and the database last."""
    wiring: Wiring
    endpoints: Mapping[str, str]
    """`{grpc, http, nats, triton_grpc, triton_http}`: `host:port`, a URL for NATS, empty for what is not there."""
    triton_unavailable_reason: str
    """Why there is no Triton; empty when there is."""


async def build_stack(
    home: Home, settings: LocalSettings, ports: Mapping[str, int], say: Callable[[str], None]
) -> Stack:
    """The stack of `home`. Makes the serving environment first, when Triton is to run and has none yet."""
    triton: ChildSpec | None = None
    triton_url, reason = settings.triton_url, ""
    if not triton_url:
        triton, reason = await _embedded_triton(home, settings, ports, say)
        triton_url = f"{LOOPBACK}:{ports['triton_grpc']}" if triton else ""
    wiring = Wiring(
        database_url=settings.database_url.get_secret_value() or database_url(home),
        nats_url=settings.nats_url.get_secret_value() or nats_url(home, ports["nats"]),
        artifacts=settings.artifacts or str(home.artifacts),
        coordinator=f"{LOOPBACK}:{ports['coordinator']}",
        gateway=f"{LOOPBACK}:{ports['gateway']}",
        triton_url=triton_url,
        triton_unavailable_reason=reason,
        triton_repository=home.triton if triton else settings.triton_repository,
    )
    classes = ["cpu", "gpu"] if await asyncio.to_thread(has_accelerator) else ["cpu"]
    life = secrets.token_hex(4)
    children = [
        None if settings.database_url.get_secret_value() else postgres_child(home),
        None if settings.nats_url.get_secret_value() else nats_child(home, ports["nats"]),
        coordinator_child(home, wiring),
        gateway_child(home, wiring),
        triton,
        *(worker_child(home, wiring, name, f"local-{name}-{life}") for name in classes),
    ]
    endpoints = {
        "grpc": wiring.gateway,
        "http": "",
        # Without user and password: what is printed and kept readable is no place for them.
        "nats": "" if settings.nats_url.get_secret_value() else f"nats://{LOOPBACK}:{ports['nats']}",
        "triton_grpc": triton_url,
        "triton_http": f"{LOOPBACK}:{ports['triton_http']}" if triton else "",
    }
    return Stack(tuple(child for child in children if child is not None), wiring, endpoints, reason)


async def _embedded_triton(
    home: Home, settings: LocalSettings, ports: Mapping[str, int], say: Callable[[str], None]
) -> tuple[ChildSpec | None, str]:
    folder = settings.serving_venv if settings.serving_venv != Path() else home.path / "serving"
    loop = asyncio.get_running_loop()

    def say_from_thread(text: str) -> None:
        loop.call_soon_threadsafe(say, text)

    try:
        venv = await asyncio.to_thread(ensure_serving_venv, folder, say_from_thread)
    except ServingUnavailableError as error:
        return None, str(error)
    await asyncio.to_thread(set_aside_damaged, home.triton, say_from_thread)
    listen = TritonPorts(grpc=ports["triton_grpc"], http=ports["triton_http"], metrics=ports["triton_metrics"])
    return triton_child(venv, home.triton, listen, home.log("triton"), system_environment()), ""
