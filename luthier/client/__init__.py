"""The SDK: a blocking and an asyncio client with the same operations, and the types that they return."""

from luthier.client.aio import AsyncClient
from luthier.client.sync import Client
from luthier.client.types import (
    Artifact,
    ChatAnswer,
    ChatChunk,
    Deployment,
    Event,
    Failure,
    Job,
    MetricPoint,
    Model,
    Progress,
    Stage,
)

__all__ = [
    "Artifact",
    "AsyncClient",
    "ChatAnswer",
    "ChatChunk",
    "Client",
    "Deployment",
    "Event",
    "Failure",
    "Job",
    "MetricPoint",
    "Model",
    "Progress",
    "Stage",
]
