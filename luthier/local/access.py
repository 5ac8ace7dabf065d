"""The local user's API key: made here, known to the coordinator by its hash alone."""

import hashlib

import grpc

from luthier.errors import error_of
from luthier.local.home import Home
from luthier.transport import CLIENT_OPTIONS
from luthier.v1.access_service_pb2 import AuthenticateApiKeyRequest, CreateApiKeyRequest
from luthier.v1.access_service_pb2_grpc import AccessServiceStub

PROJECT = "default"
_CALL_SECONDS = 10.0


async def ensure_api_key(home: Home, coordinator: str) -> None:
    """Registers the key in `home` unless the database knows it, which a new or another database does not.

    Raises:
        LuthierError: the coordinator refuses or does not answer.
    """
    digest = hashlib.sha256(home.api_key().encode()).digest()
    metadata = (("authorization", f"Bearer {home.secrets().internal_token}"),)
    async with grpc.aio.insecure_channel(coordinator, options=CLIENT_OPTIONS) as channel:
        stub = AccessServiceStub(channel)
        try:
            known = AuthenticateApiKeyRequest(key_sha256=digest)
            await stub.AuthenticateApiKey(known, timeout=_CALL_SECONDS, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise error_of(error.code(), error.details() or "") from error
        else:
            return
        create = CreateApiKeyRequest(
            project_id=PROJECT, display_name="luthier up", key_sha256=digest, permissions=["*", "admin.*"]
        )
        try:
            await stub.CreateApiKey(create, timeout=_CALL_SECONDS, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise error_of(error.code(), error.details() or "") from error
