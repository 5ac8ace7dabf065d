"""The errors that a user of Luthier can meet, and their gRPC status: one tree, one table, both ways.

Services raise these and an interceptor turns them into a status; the SDK turns a status back into the same class.
"""

from dataclasses import dataclass

import grpc


class LuthierError(Exception):
    """Base of every error of the platform. The message says what to do."""


class InvalidRequestError(LuthierError, ValueError):
    """The request itself is wrong: a bad id, a bad page token, a bad field."""


@dataclass(frozen=True)
class SpecProblem:
    """One fault of a job file."""

    path: str
    """Where: `training.learning_rate`."""
    reason: str
    """What is wrong with it."""
    suggestion: str = ""
    """What was probably meant."""

    def __str__(self) -> str:
        hint = f" {self.suggestion}" if self.suggestion else ""
        return f"{self.path or 'job file'}: {self.reason}{hint}"


class InvalidSpecError(InvalidRequestError):
    """The job file is wrong; `problems` names every fault."""

    def __init__(self, message: str, problems: tuple[SpecProblem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems

    @classmethod
    def of(cls, problems: tuple[SpecProblem, ...]) -> "InvalidSpecError":
        """An error whose message lists `problems`, one a line."""
        return cls("\n".join(str(problem) for problem in problems), problems)


class NotFoundError(LuthierError):
    """There is no such thing, or the caller may not know of it."""


class AlreadyExistsError(LuthierError):
    """The id is taken by something else."""


class ConflictError(LuthierError):
    """Not legal in the present state: a finished job, a stale fence."""


class UnauthenticatedError(LuthierError):
    """No valid API key came with the call."""


class PermissionDeniedError(LuthierError):
    """The key is valid but does not allow this."""


class LimitExceededError(LuthierError):
    """A limit on what one caller may hold at a time was reached."""


class UnavailableError(LuthierError):
    """The service, or one that it needs, does not answer. Trying again later may help."""


class DeadlineError(LuthierError, TimeoutError):
    """No answer within the time allowed."""


class InternalError(LuthierError):
    """A fault of Luthier's own."""


# One row per class. Where two classes share a status, the first one is what the status turns back into.
STATUS: dict[type[LuthierError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidSpecError: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    ConflictError: grpc.StatusCode.FAILED_PRECONDITION,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    LimitExceededError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    InternalError: grpc.StatusCode.INTERNAL,
}


def status_of(error: LuthierError) -> grpc.StatusCode:
    """The status that stands for `error` on the wire."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), grpc.StatusCode.INTERNAL)


def error_of(code: grpc.StatusCode, details: str) -> LuthierError:
    """The error that a status stands for; INTERNAL for a status that is not in the table."""
    kind = next((kind for kind, status in STATUS.items() if status is code), InternalError)
    return kind(details)
