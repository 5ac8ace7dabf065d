"""docs/data/shapes.md: its table is that of the shapes, and its job file is valid."""

import re
from pathlib import Path

from luthier.spec import parse_spec
from workers.data.shapes import SHAPES

PAGE = (Path(__file__).parents[4] / "docs" / "data" / "shapes.md").read_text()
OF_CLASSES = ("labelled_text", "labelled_chat")


def test_the_table_has_every_shape_with_its_columns() -> None:
    found = {}
    for names, columns in re.findall(r"^\| (`.*?`) \| (`.*?) \|", PAGE, re.MULTILINE):
        required, _, optional = columns.partition("(")
        for name in re.findall(r"`(\w+)`", names):
            found[name] = (set(re.findall(r"`(\w+)`", required)), set(re.findall(r"`(\w+)`", optional)))
    classes = {name: "labels" if name.startswith("multi") else "label" for name in SHAPES if name.endswith(OF_CLASSES)}
    assert all(found.pop(name)[0] == {"text", "messages", column} for name, column in classes.items())
    wanted = {name: (set(shape.required), set(shape.optional)) for name, shape in SHAPES.items()}
    assert found == {name: columns for name, columns in wanted.items() if name not in classes}


def test_the_job_file_is_valid() -> None:
    (section,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert parse_spec(f"name: a\nbase_model: org/b\n{section}").data.columns["messages"] == "dialog"
