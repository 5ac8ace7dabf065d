"""ProjectService."""

from coordinator.api.requests import Context, id_of, project_of
from coordinator.store.engine import Database
from coordinator.store.render import project_message
from coordinator.store.tables import ProjectRow
from luthier.errors import NotFoundError
from luthier.v1 import project_service_pb2 as pb
from luthier.v1.project_service_pb2_grpc import ProjectServiceServicer


class ProjectService(ProjectServiceServicer):
    """The caller's project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetProject(self, request: pb.GetProjectRequest, context: Context) -> pb.GetProjectResponse:
        """The caller's own project; any other one does not exist."""
        own = project_of(context)
        project_id = id_of(request.project_id, "project_id") if request.project_id else own
        async with self._database.transaction() as session:
            row = await session.get(ProjectRow, own) if project_id == own else None
        if row is None:
            raise NotFoundError(f"there is no project {project_id}")
        return pb.GetProjectResponse(project=project_message(row))
