"""One tree, one table, both ways."""

import grpc
import pytest

from luthier import errors


def _tree(kind: type[errors.LuthierError]) -> set[type[errors.LuthierError]]:
    return {kind}.union(*(_tree(child) for child in kind.__subclasses__()))


def test_every_error_has_a_row() -> None:
    ours = {kind for kind in _tree(errors.LuthierError) if kind.__module__ == errors.__name__}
    assert ours - {errors.LuthierError} == set(errors.STATUS)


def test_a_kind_of_its_own_travels_as_what_it_is_or_as_internal() -> None:
    class ChildError(errors.ConflictError):
        pass

    class OtherError(errors.LuthierError):
        pass

    assert errors.status_of(ChildError("")) is grpc.StatusCode.FAILED_PRECONDITION
    assert errors.status_of(OtherError("")) is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("kind", list(errors.STATUS), ids=lambda kind: kind.__name__)
def test_an_error_comes_back_as_itself_or_as_what_it_is(kind: type[errors.LuthierError]) -> None:
    back = errors.error_of(errors.status_of(kind("why")), "why")
    assert issubclass(kind, type(back))
    assert str(back) == "why"


def test_an_unknown_status_is_internal() -> None:
    assert type(errors.error_of(grpc.StatusCode.DATA_LOSS, "lost")) is errors.InternalError


def test_a_spec_error_lists_every_problem() -> None:
    problems = (errors.SpecProblem("a.b", "unknown key.", "Did you mean 'c'?"), errors.SpecProblem("", "is empty."))
    error = errors.InvalidSpecError.of(problems)
    assert str(error) == "a.b: unknown key. Did you mean 'c'?\njob file: is empty."
    assert error.problems == problems
