"""SQL that SQLAlchemy writes once and asyncpg runs: the short way for statements that every hand-off needs.

The ORM costs a millisecond of processor time for each statement, the driver a twentieth of it. Rows come back as the
same classes with the same types, but no session knows them: whoever changes one has to write it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine
from sqlmodel import SQLModel, inspect

Row = TypeVar("Row", bound=SQLModel)

_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
_FLOAT8 = 701  # oid of `double precision`; only fractional numbers ask for theirs, and we have no others


class Statement:
    """One statement; its parameters are its `bindparam`s by name."""

    def __init__(self, query: ClauseElement) -> None:
        compiled = query.compile(dialect=_DIALECT)
        assert isinstance(compiled, SQLCompiler), "a query, and no DDL"
        self._sql = str(compiled)
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}
        self._parameters = [(name, _binder(compiled.binds[name].type)) for name in compiled.positiontup or ()]

    async def fetch(self, connection: asyncpg.Connection, **values: Any) -> list[asyncpg.Record]:
        """Its rows."""
        found: list[asyncpg.Record] = await connection.fetch(self._sql, *self._arguments(values))
        return found

    async def execute_many(self, connection: asyncpg.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Runs it for every set of values, in one round trip."""
        await connection.executemany(self._sql, [self._arguments(values) for values in rows])

    def _arguments(self, values: Mapping[str, Any]) -> list[Any]:
        given = {**self._constants, **values}
        return [given[name] if bind is None else bind(given[name]) for name, bind in self._parameters]


class Shape(Generic[Row]):
    """Makes rows of one table from records, as the ORM would."""

    def __init__(self, kind: type[Row]) -> None:
        mapper = inspect(kind)
        self.kind = kind
        self._make = mapper.class_manager.new_instance
        self.table = mapper.local_table
        self.names = tuple(self.table.columns.keys())
        self.key = next(iter(self.table.primary_key)).name
        self._columns = [(name, _reader(self.table.columns[name].type)) for name in self.names]

    def row(self, record: asyncpg.Record) -> Row:
        """The row in a record that begins with all columns of the table in their order."""
        made: Row = self._make()
        # Past the instrumentation of each attribute, which is for sessions: no session knows this row.
        made.__dict__.update(
            (name, value if read is None else read(value))
            for (name, read), value in zip(self._columns, record.values(), strict=False)
        )
        return made

    def values(self, row: Row) -> dict[str, Any]:
        """What stands in a row, by column."""
        present = row.__dict__
        return {name: present.get(name) for name in self.names}


def _binder(kind: TypeEngine[Any]) -> Any:
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def _reader(kind: TypeEngine[Any]) -> Any:
    return kind.dialect_impl(_DIALECT).result_processor(_DIALECT, _FLOAT8)
