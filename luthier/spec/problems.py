"""From pydantic's errors to faults that a person can mend: the place as the file has it, and what was meant."""

import difflib
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel

from luthier.errors import SpecProblem
from luthier.spec.data.location import HIDDEN, PATH_TAGS, without_query
from luthier.spec.job import JobSpec

_TAG = "type"
"""The key that tells sections apart which may stand in one place."""


def problem_of(error: Any) -> SpecProblem:
    """One fault from one row of `ValidationError.errors()`."""
    keys, sections = _walk(error["loc"])
    path = ".".join(keys)
    if error["type"] == "union_tag_invalid":
        given = str(error["ctx"]["tag"])
        hint = _did_you_mean(given, [_tag_of(section) for section in sections], "values")
        return SpecProblem(f"{path}.{_TAG}", f"unknown value {given!r}.", hint)
    if error["type"] == "extra_forbidden":
        return SpecProblem(path, "unknown key.", _hint_for_key(error["loc"]))
    given = error.get("input")
    hidden = isinstance(given, dict | list) or error["type"] in ("missing", HIDDEN)
    shown = "" if hidden else f" (got {without_query(given) if isinstance(given, str) else given!r})"
    return SpecProblem(path, error["msg"].removeprefix("Value error, ") + shown)


def _hint_for_key(loc: Sequence[int | str]) -> str:
    *place, key = loc
    _, (section,) = _walk(place)
    _, alternatives = _walk(place[:-1])
    owners = [other for other in alternatives if section in alternatives and key in other.model_fields]
    if owners:
        return f"It belongs to {_TAG}: {_tag_of(owners[0])}; leave it out, or change {_TAG}."
    return _did_you_mean(str(key), sorted(section.model_fields), "keys")


def _did_you_mean(given: str, known: Sequence[str], what: str) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known {what}: {', '.join(known)}."


def _walk(loc: Sequence[int | str]) -> tuple[list[str], list[type[BaseModel]]]:
    """The keys of `loc` as the file has them, and the sections that may stand there.

    Where several may stand, pydantic puts the tag of the one that it chose into `loc`; the file has it elsewhere.
    """
    keys: list[str] = []
    sections: list[type[BaseModel]] = [JobSpec]
    for part in loc:
        if part in PATH_TAGS:
            continue
        if len(sections) > 1 and isinstance(part, str):
            sections = [section for section in sections if _tag_of(section) == part]
            continue
        keys.append(str(part))
        field = sections[0].model_fields.get(str(part))
        if field is not None:
            sections = _sections(field.annotation) or sections
    return keys, sections


def _tag_of(section: type[BaseModel]) -> str:
    return str(get_args(section.model_fields[_TAG].annotation)[0])


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The section classes named anywhere inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _sections(inner)]
