"""What the rows of a bare file are for, where no job file says it: its columns and its first row decide."""

from itertools import islice
from pathlib import Path
from typing import Any

from luthier.spec import ClassificationSpec, DpoSpec, KtoSpec, ObjectiveSpec, SftSpec
from workers.data.files import FILES, parse_json
from workers.data.row import Content, read_list
from workers.data.shapes import SHAPES, read_row
from workers.data.sources import find_files

_ONE_CLASS = ClassificationSpec(type="classification")
_CLASSES = ClassificationSpec(type="classification", multi_label=True)
# What says more of a row comes first.
_CANDIDATES: tuple[ObjectiveSpec, ...] = (DpoSpec(type="dpo"), KtoSpec(type="kto"), _CLASSES, _ONE_CLASS)


def objective_of(path: Path) -> ObjectiveSpec:
    """DPO for two answers of which one is better, KTO for one that is good or bad, classification for a text, or a
    conversation that is not answered, with classes; else supervised fine-tuning, which takes answers and texts.

    Raises:
        DataError: there is no such file, its type cannot be told, or it is no file of this type.
    """
    file = find_files(str(path.absolute()), "data.path", "train", "auto", lambda path, key: None)[0]
    reader = FILES[file.file_type]
    # First the columns: that is where a file is refused that cannot be read safely.
    columns = reader.columns(file.path)
    fitting = {
        name: objective
        for objective in _CANDIDATES
        for name in objective.row_formats
        if not SHAPES[name].lacking(columns)
    }
    if fitting:
        for record in islice(reader.records(file.path, columns), 1):
            for name, objective in fitting.items():
                if record.json_text is not None and _is(record.json_text, name, objective):
                    return objective
    if fitting and all(SHAPES[name].lacking(columns) for name in SftSpec().row_formats):
        # Then the row is a bad one, and told as such.
        return next(iter(fitting.values()))
    return SftSpec()


def _is(text: str, shape: str, objective: ObjectiveSpec) -> bool:
    """Whether a row, as JSON, is of that shape and for that; one that cannot be read decides nothing."""
    try:
        record = parse_json(text)
        content, _ = read_row(record, SHAPES[shape])
        return not isinstance(objective, ClassificationSpec) or _has_classes(record, content, objective)
    except (ValueError, RecursionError):
        return False


def _has_classes(record: Any, content: Content, objective: ClassificationSpec) -> bool:
    """Whether a row is to be classified: what is answered is to be learned, and lists of numbers may be anything."""
    is_answered = not isinstance(content, str) and content[-1]["role"] == "assistant"
    if is_answered or not objective.multi_label:
        return not is_answered
    names = read_list(record.get("labels", record.get("label")), "labels", "class names")
    return all(isinstance(name, str) for name in names)
