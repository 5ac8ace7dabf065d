"""What every section of the job file has in common: strict, closed, immutable, documented under each field.

The strings under the fields are read when a JSON Schema is asked for. pydantic's `use_attribute_docstrings` would read
them from the source files whenever a process imports the job file, which took as long as everything else in it.
"""

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue


class Section(BaseModel):
    """One section. Unknown keys and wrong types are errors; the string under a field is its documentation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of the section with the strings under its fields as `description`s."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema)["properties"]
        for section in cls.__mro__:
            if issubclass(section, Section) and section is not Section:
                for name, text in _texts_under_fields(section).items():
                    properties[name].setdefault("description", text)
        return schema


def _texts_under_fields(section: type[Section]) -> dict[str, str]:
    """Name of a field -> the string right under it in the source of the class."""
    definition = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(below.value.value)
        for field, below in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and field.target.id in section.model_fields
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }
