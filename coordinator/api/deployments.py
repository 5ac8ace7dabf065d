"""DeploymentService."""

from coordinator.api.requests import Context, id_of, page_key, page_size_of, page_token, project_of
from coordinator.store.engine import Database
from coordinator.store.queries import find_deployment, list_deployments
from coordinator.store.render import deployment_message
from luthier.errors import NotFoundError
from luthier.v1 import deployment_service_pb2 as pb
from luthier.v1.deployment_service_pb2_grpc import DeploymentServiceServicer


class DeploymentService(DeploymentServiceServicer):
    """Deployments of the caller's project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetDeployment(self, request: pb.GetDeploymentRequest, context: Context) -> pb.GetDeploymentResponse:
        """By id or by name."""
        id_or_name = id_of(request.deployment_id, "deployment_id")
        async with self._database.transaction() as session:
            row = await find_deployment(session, project_of(context), id_or_name)
        if row is None:
            raise NotFoundError(f"there is no deployment {request.deployment_id}")
        return pb.GetDeploymentResponse(deployment=deployment_message(row))

    async def ListDeployments(self, request: pb.ListDeploymentsRequest, context: Context) -> pb.ListDeploymentsResponse:
        """Newest first."""
        size = page_size_of(request.page_size, default=50, most=1000)
        (before_id,) = page_key(request.page_token, str) or ("",)
        async with self._database.transaction() as session:
            found = await list_deployments(session, project_of(context), before_id, size + 1)
        more = page_token(found[size - 1].deployment_id) if len(found) > size else ""
        deployments = [deployment_message(row) for row in found[:size]]
        return pb.ListDeploymentsResponse(deployments=deployments, next_page_token=more)
