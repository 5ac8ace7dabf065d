"""`client.datasets`: versions of datasets that the project keeps, and deleting what nobody has."""

from datetime import timedelta
from typing import TYPE_CHECKING

from luthier.client import calls
from luthier.client.types import DatasetVersion

if TYPE_CHECKING:
    from luthier.client.aio import AsyncClient
    from luthier.client.sync import Client


class AsyncDatasets:
    """`client.datasets`: what the artifact store keeps, to be used again."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def versions(self) -> list[DatasetVersion]:
        """All of them, those used last first."""
        return await self._client.run(calls.list_dataset_versions())

    async def prune(self, unused_for: timedelta, *, dry_run: bool) -> list[DatasetVersion]:
        """Deletes versions that no job in flight and no model has, nor anybody had for `unused_for`.

        Args:
            unused_for: 0: whenever it was used.
            dry_run: delete nothing, and say what would be.

        Raises:
            ConflictError: a stage of the project preprocesses; prune again when it is done.
        """
        return await self._client.run(calls.prune_dataset_versions(unused_for, dry_run))


class Datasets:
    """`client.datasets`: what the artifact store keeps, to be used again."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def versions(self) -> list[DatasetVersion]:
        """All of them, those used last first."""
        return self._client.run(calls.list_dataset_versions())

    def prune(self, unused_for: timedelta, *, dry_run: bool) -> list[DatasetVersion]:
        """Deletes versions that no job in flight and no model has, nor anybody had for `unused_for`.

        Args:
            unused_for: 0: whenever it was used.
            dry_run: delete nothing, and say what would be.

        Raises:
            ConflictError: a stage of the project preprocesses; prune again when it is done.
        """
        return self._client.run(calls.prune_dataset_versions(unused_for, dry_run))
