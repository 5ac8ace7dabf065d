"""DatasetService."""

from coordinator.api.requests import Context, project_of
from coordinator.commands.datasets import list_dataset_versions, prune_dataset_versions
from coordinator.store.engine import Database
from coordinator.store.render import dataset_version_message
from luthier.errors import InvalidRequestError
from luthier.v1 import dataset_service_pb2 as pb
from luthier.v1.dataset_service_pb2_grpc import DatasetServiceServicer

MAX_UNUSED_DAYS = 36_500


class DatasetService(DatasetServiceServicer):
    """Versions of the datasets of the caller's project."""

    def __init__(self, database: Database, artifacts: str) -> None:
        self._database = database
        self._artifacts = artifacts

    async def ListDatasetVersions(
        self, request: pb.ListDatasetVersionsRequest, context: Context
    ) -> pb.ListDatasetVersionsResponse:
        """Those used last first."""
        versions = await list_dataset_versions(self._database, self._artifacts, project_of(context))
        return pb.ListDatasetVersionsResponse(dataset_versions=map(dataset_version_message, versions))

    async def PruneDatasetVersions(
        self, request: pb.PruneDatasetVersionsRequest, context: Context
    ) -> pb.PruneDatasetVersionsResponse:
        """Deletes what nobody has."""
        if not request.HasField("unused_for"):
            raise InvalidRequestError("unused_for is not set; say how long a version has to be unused")
        if not 0 <= request.unused_for.seconds <= MAX_UNUSED_DAYS * 86_400 or request.unused_for.nanos < 0:
            raise InvalidRequestError(f"unused_for must be between 0 and {MAX_UNUSED_DAYS} days")
        versions = await prune_dataset_versions(
            self._database,
            self._artifacts,
            project_of(context),
            request.unused_for.ToTimedelta(),
            dry_run=request.dry_run,
        )
        return pb.PruneDatasetVersionsResponse(dataset_versions=map(dataset_version_message, versions))
