"""What the services read out of a request: the caller's project, ids, pages."""

import base64
import binascii
import json
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import grpc.aio

from luthier.errors import InvalidRequestError, UnauthenticatedError
from luthier.ids import check_id, is_id

PROJECT = "x-luthier-project"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# As text, because the class is generic for the type checker only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def project_of(context: Context) -> str:
    """The project that the gateway authenticated the caller for.

    Raises:
        UnauthenticatedError: the call names none.
    """
    metadata = dict(context.invocation_metadata() or ())
    project_id = metadata.get(PROJECT, "")
    if not isinstance(project_id, str) or not is_id(project_id):
        raise UnauthenticatedError(f"the call carries no {PROJECT}")
    return project_id


def id_of(text: str, what: str) -> str:
    """Returns `text`.

    Raises:
        InvalidRequestError: it is not a well-formed id.
    """
    try:
        return check_id(text, what)
    except ValueError as error:
        raise InvalidRequestError(str(error)) from error


def page_size_of(given: int, *, default: int, most: int) -> int:
    """How many rows to answer with; more than `most` is cut to `most`.

    Raises:
        InvalidRequestError: it is negative.
    """
    if given < 0:
        raise InvalidRequestError(f"page_size is {given}; give 0 for {default}, or up to {most}")
    return min(given or default, most)


def page_token(*key: str | int) -> str:
    """Opaque token of the row that a page ended with."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def moment_token(moment: datetime, row_id: str) -> str:
    """Token of a row in a list that is in the order of a time."""
    return page_token((moment - _EPOCH) // timedelta(microseconds=1), row_id)


def moment_key(token: str) -> tuple[datetime, str] | None:
    """The time and the id inside a token of `moment_token`, None for the first page.

    Raises:
        InvalidRequestError: we did not make this token for a list of this kind.
    """
    key = page_key(token, int, str)
    if key is None:
        return None
    microseconds, row_id = key
    try:
        return _EPOCH + timedelta(microseconds=microseconds), row_id
    except OverflowError as error:
        raise InvalidRequestError("page_token is not one that this list gave out") from error


def page_key(token: str, *kinds: type[str] | type[int]) -> tuple[Any, ...] | None:
    """The key inside a token, None for the first page.

    Raises:
        InvalidRequestError: we did not make this token for a list of this kind.
    """
    if not token:
        return None
    try:
        key = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidRequestError("page_token is not one that this list gave out") from error
    if not isinstance(key, list) or [type(part) for part in key] != [*kinds]:
        raise InvalidRequestError("page_token is not one that this list gave out")
    return tuple(key)
