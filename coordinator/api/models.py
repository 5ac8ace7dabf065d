"""ModelService."""

from coordinator.api.requests import Context, id_of, page_key, page_size_of, page_token, project_of
from coordinator.store.engine import Database
from coordinator.store.queries import find_model, list_models
from coordinator.store.render import model_message
from luthier.errors import NotFoundError
from luthier.v1 import model_service_pb2 as pb
from luthier.v1.model_service_pb2_grpc import ModelServiceServicer


class ModelService(ModelServiceServicer):
    """Exported models of the caller's project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """One model."""
        async with self._database.transaction() as session:
            row = await find_model(session, project_of(context), id_of(request.model_id, "model_id"))
        if row is None:
            raise NotFoundError(f"there is no model {request.model_id}")
        return pb.GetModelResponse(model=model_message(row))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """Newest first."""
        size = page_size_of(request.page_size, default=50, most=1000)
        (before_id,) = page_key(request.page_token, str) or ("",)
        async with self._database.transaction() as session:
            found = await list_models(session, project_of(context), before_id, size + 1)
        more = page_token(found[size - 1].model_id) if len(found) > size else ""
        return pb.ListModelsResponse(models=[model_message(row) for row in found[:size]], next_page_token=more)
