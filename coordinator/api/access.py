"""AccessService. Internal: for the gateway and `luthier up`."""

from coordinator.api.requests import Context, id_of
from coordinator.commands.keys import authenticate, create_api_key
from coordinator.store.engine import Database
from luthier.errors import InvalidRequestError
from luthier.v1 import access_service_pb2 as pb
from luthier.v1.access_service_pb2_grpc import AccessServiceServicer

SHA256_BYTES = 32


class AccessService(AccessServiceServicer):
    """API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Context) -> pb.CreateApiKeyResponse:
        """Records a key by its hash."""
        project_id = id_of(request.project_id, "project_id")
        if len(request.key_sha256) != SHA256_BYTES:
            raise InvalidRequestError(f"key_sha256 has {len(request.key_sha256)} bytes, not {SHA256_BYTES}")
        permissions = sorted(set(request.permissions))
        key_id = await create_api_key(self._database, project_id, request.display_name, request.key_sha256, permissions)
        return pb.CreateApiKeyResponse(key_id=key_id)

    async def AuthenticateApiKey(
        self, request: pb.AuthenticateApiKeyRequest, context: Context
    ) -> pb.AuthenticateApiKeyResponse:
        """Whose key it is."""
        return pb.AuthenticateApiKeyResponse(principal=await authenticate(self._database, request.key_sha256))
