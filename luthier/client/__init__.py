"""The SDK: a blocking and an asyncio client with the same operations, and the types that they return.

The clients are loaded on first use, because they bring gRPC and protobuf along and the types do not.
"""

from typing import TYPE_CHECKING, Any

from luthier.client.types import (
    Artifact,
    ChatAnswer,
    ChatChunk,
    DatasetVersion,
    DeadLetter,
    Deployment,
    Event,
    Failure,
    Job,
    MetricPoint,
    Model,
    Progress,
    Stage,
    ToolCall,
    Worker,
)

if TYPE_CHECKING:
    from luthier.client.aio import AsyncClient
    from luthier.client.sync import Client

__all__ = [
    "Artifact",
    "AsyncClient",
    "ChatAnswer",
    "ChatChunk",
    "Client",
    "DatasetVersion",
    "DeadLetter",
    "Deployment",
    "Event",
    "Failure",
    "Job",
    "MetricPoint",
    "Model",
    "Progress",
    "Stage",
    "ToolCall",
    "Worker",
]

_CLIENTS = {"AsyncClient": "luthier.client.aio", "Client": "luthier.client.sync"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _CLIENTS:
        return getattr(import_module(_CLIENTS[name]), name)
    raise AttributeError(f"module 'luthier.client' has no attribute {name!r}")
