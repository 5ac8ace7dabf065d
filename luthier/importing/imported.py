"""What an import comes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.errors import InvalidRequestError


@dataclass
class Source:
    """One dataset, on its way from a description to a place in `data`."""

    name: str
    keys: dict[str, Any] = field(default_factory=dict)
    """As `data.sources` has them, without the name."""
    objective: str | None = None
    """`objective.type` that learns from its rows; None: the default."""
    notes: list[str] = field(default_factory=list)
    """What is not the same as before, or is for the user to decide."""


@dataclass(frozen=True)
class Imported:
    """A part of a job file."""

    data: dict[str, Any]
    """The section `data`."""
    objective: str | None
    """`objective.type`; None: the default."""
    notes: list[str]

    @classmethod
    def of(cls, sources: Sequence[Source], settings: Mapping[str, Any], notes: Sequence[str] = ()) -> "Imported":
        """One source as `data.path`, several as `data.sources`; `settings` are further keys of `data`.

        Raises:
            InvalidRequestError: the sources cannot be learned from in one job.
        """
        objectives = sorted({source.objective or "sft" for source in sources})
        if len(objectives) > 1:
            raise InvalidRequestError(
                f"the datasets are for several objectives ({', '.join(objectives)}), which one job cannot have; name "
                "those of one objective with --name"
            )
        told = [note for source in sources for note in source.notes]
        if len(sources) == 1 and "max_samples" not in sources[0].keys:
            data = {**settings, **_short(sources[0].keys)}
        else:
            data = {**settings, "sources": [{"name": source.name, **_short(source.keys)} for source in sources]}
        return cls(data, sources[0].objective, [*dict.fromkeys((*told, *notes))])


def _short(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a source, its columns without those that are called as they are here."""
    columns = {ours: theirs for ours, theirs in keys.get("columns", {}).items() if ours != theirs}
    rest = {key: value for key, value in keys.items() if key != "columns"}
    return {**rest, "columns": columns} if columns else rest


def refused(where: str, what: str, remedy: str) -> InvalidRequestError:
    """For what cannot be carried over."""
    return InvalidRequestError(f"{where}: {what}, which cannot be carried over; {remedy}")


def check_keys(entry: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """
    Raises:
        InvalidRequestError: the entry says something that nobody here knows.
    """
    unknown = sorted(key for key, value in entry.items() if key not in known and value is not None)
    if unknown:
        raise refused(where, f"has {', '.join(unknown)}", "take it out, if the rows are the same without it")


def object_of(entry: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """The object that an entry has under `key`; an empty one where it has none.

    Raises:
        InvalidRequestError: it is no object.
    """
    value = entry.get(key) or {}
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"{where}: {key} is no object; expected names with their values")
    return dict(value)


def hub_uri(repository: str, revision: str | None, path: str, config: str | None, split: str | None) -> str:
    """The place of a dataset of the Hugging Face hub."""
    at = f"@{revision}" if revision else ""
    if path:
        return f"hf://datasets/{repository}{at}/{path}"
    asked = [f"{name}={value}" for name, value in (("config", config), ("split", split)) if value]
    return f"hf://datasets/{repository}{at}" + (f"?{'&'.join(asked)}" if asked else "")


def named_roles(roles: Mapping[str, Sequence[str | None] | None]) -> dict[str, list[str]]:
    """Names of roles, without those that are known anyway."""
    given = {role: [name for name in names or () if name and name not in _KNOWN[role]] for role, names in roles.items()}
    return {role: names for role, names in given.items() if names}


_KNOWN: dict[str, tuple[str, ...]] = {
    "system": ("system", "developer"),
    "user": ("user", "human"),
    "assistant": ("assistant", "gpt", "model"),
    "tool": ("tool", "observation", "function"),
    "function_call": ("function_call", "tool_call"),
}
