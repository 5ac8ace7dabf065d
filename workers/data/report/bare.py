"""What the rows of a bare file are for, where no job file says it: the first row decides."""

from itertools import islice
from pathlib import Path

from luthier.spec import ClassificationSpec, ObjectiveSpec, SftSpec
from workers.data.files import FILES, parse_json
from workers.data.row import read_list
from workers.data.shapes import SHAPES, read_row
from workers.data.sources import find_files


def objective_of(path: Path) -> ObjectiveSpec:
    """Multi-label classification for a text with a list of names in `labels`, or for such a conversation that is not
    answered; else supervised fine-tuning, which takes answers and texts.

    Raises:
        DataError: there is no such file, its type cannot be told, or it is no file of this type.
    """
    file = find_files(str(path.absolute()), "data.path", "train", "auto", lambda path, key: None)[0]
    reader = FILES[file.file_type]
    # First the columns: that is where a file is refused that cannot be read safely.
    if "labels" in reader.columns(file.path):
        for record in islice(reader.records(file.path, ("text", "messages", "labels")), 1):
            if record.json_text is not None and _has_classes(record.json_text):
                return ClassificationSpec(type="classification", multi_label=True)
    return SftSpec()


def _has_classes(text: str) -> bool:
    """Whether a row, as JSON, is to be classified; one that cannot be read decides nothing."""
    try:
        record = parse_json(text)
        if not isinstance(record, dict) or "labels" not in record:
            return False
        shape = "multi_labelled_text" if "text" in record else "multi_labelled_chat"
        content, _ = read_row(record, SHAPES[shape])
        names = read_list(record["labels"], "labels", "class names")
    except (ValueError, RecursionError):
        return False
    is_answered = not isinstance(content, str) and content[-1]["role"] == "assistant"
    return not is_answered and all(isinstance(name, str) for name in names)
