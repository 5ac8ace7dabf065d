"""API keys: from the text that a client sends to the principal that the coordinator knows.

Only the key's SHA-256 leaves this process. An answer is kept for 30 s at most, so a revoked key is dead after that;
refusals are not kept, so a flood of wrong keys cannot push good ones out.
"""

import hashlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable

import grpc

from gateway.auth.principal import internal_metadata
from luthier.errors import UnauthenticatedError, UnavailableError
from luthier.v1.access_service_pb2 import AuthenticateApiKeyRequest, Principal
from luthier.v1.access_service_pb2_grpc import AccessServiceStub

_LOG = logging.getLogger(__name__)
_KEY = re.compile(r"lk_[A-Za-z0-9_-]{43}")
_TIMEOUT_SECONDS = 5.0
_REFUSAL = "no valid API key; send one as 'authorization: Bearer lk_...'"


class ApiKeys:
    """Asks the coordinator's AccessService, and remembers its answers for a short while."""

    def __init__(
        self,
        coordinator: grpc.aio.Channel,
        token: str,
        *,
        keep_seconds: float = 30.0,
        capacity: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access = AccessServiceStub(coordinator)
        self._token = token
        self._keep_seconds = keep_seconds
        self._capacity = capacity
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    async def authenticate(self, authorization: str | None) -> Principal:
        """The principal behind an `authorization` header. Missing, garbled and wrong keys are refused alike.

        Raises:
            UnauthenticatedError: there is no such key.
            UnavailableError: the coordinator does not answer.
        """
        scheme, _, key = (authorization or "").partition(" ")
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        if scheme.lower() != "bearer" or not _KEY.fullmatch(key):
            raise UnauthenticatedError(_REFUSAL)
        now = self._clock()
        expires, principal = self._known.get(digest, (now, Principal()))
        if expires > now:
            return principal
        principal = await self._ask(digest)
        self._remember(digest, principal, now + self._keep_seconds)
        return principal

    async def _ask(self, digest: bytes) -> Principal:
        request = AuthenticateApiKeyRequest(key_sha256=digest)
        try:
            response = await self._access.AuthenticateApiKey(
                request, timeout=_TIMEOUT_SECONDS, metadata=internal_metadata(self._token)
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                raise UnauthenticatedError(_REFUSAL) from error
            _LOG.warning("AccessService does not answer: %s %s", error.code().name, error.details())
            raise UnavailableError("the API key cannot be checked now; try again") from error
        return response.principal

    def _remember(self, digest: bytes, principal: Principal, expires: float) -> None:
        self._known.pop(digest, None)
        self._known[digest] = (expires, principal)
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)
