"""Column types: ids that sort by bytes, moments with a time zone, enums as text, messages and dataclasses as JSON."""

from enum import StrEnum
from typing import Any, Generic, TypeVar

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from pydantic import TypeAdapter
from sqlalchemy import DateTime, Dialect, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

M = TypeVar("M", bound=Message)
E = TypeVar("E", bound=StrEnum)
D = TypeVar("D")

# The "C" collation compares bytes, so that a keyset page is in the order of the ids' age in every database.
Id = String(64, collation="C")
Moment = DateTime(timezone=True)


class ProtoJson(TypeDecorator[M], Generic[M]):
    """A message as JSONB with the field names of the .proto; absent is SQL NULL. Readable in psql, safe to extend."""

    impl = JSONB(none_as_null=True)
    cache_ok = True

    def __init__(self, message: type[M]) -> None:
        super().__init__()
        self.message = message

    def process_bind_param(self, value: M | None, dialect: Dialect) -> dict[str, Any] | None:
        """Message to JSON object."""
        return None if value is None else MessageToDict(value, preserving_proto_field_name=True)

    def process_result_value(self, value: dict[str, Any] | None, dialect: Dialect) -> M | None:
        """JSON object to message; fields of a newer version are ignored."""
        return None if value is None else ParseDict(value, self.message(), ignore_unknown_fields=True)


class DataclassJson(TypeDecorator[D], Generic[D]):
    """A dataclass as a JSONB object with its fields; absent is SQL NULL."""

    impl = JSONB(none_as_null=True)
    cache_ok = True

    def __init__(self, kind: type[D]) -> None:
        super().__init__()
        self.kind = kind
        self._adapter = TypeAdapter(kind)

    def process_bind_param(self, value: D | None, dialect: Dialect) -> Any:
        """Dataclass to JSON object."""
        return None if value is None else self._adapter.dump_python(value, mode="json")

    def process_result_value(self, value: Any, dialect: Dialect) -> D | None:
        """JSON object to dataclass; fields of a newer version are ignored."""
        return None if value is None else self._adapter.validate_python(value)


class StateText(TypeDecorator[E], Generic[E]):
    """A StrEnum as its text."""

    impl = String(16)
    cache_ok = True

    def __init__(self, enum: type[E]) -> None:
        super().__init__()
        self.enum = enum

    def process_result_value(self, value: str | None, dialect: Dialect) -> E | None:
        """Text to member."""
        return None if value is None else self.enum(value)
