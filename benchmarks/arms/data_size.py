"""The arm of data_memory.py: `preprocess` alone. Arguments: model, rows, output folder, `near` or `exact`."""

import logging
import sys
from pathlib import Path

from luthier.settings import WorkerSettings
from luthier.spec import DataSpec
from workers.apart import call_apart
from workers.data.pipeline import preprocess
from workers.data.report import write_report
from workers.data.report.local import LogReport
from workers.data.tokens.base_tokenizer import tokenizer_named


def main() -> None:
    """The last line of a file that was cut to a size is broken, so such rows are dropped."""
    folder, rows, output, how = sys.argv[1:5]
    logging.basicConfig(level=logging.WARNING)
    settings = WorkerSettings(data_roots="/")
    tokenizer = call_apart(tokenizer_named, folder, settings)
    duplicates = {"near": {}} if how == "near" else {}
    spec = DataSpec.model_validate({"path": rows, "on_invalid_row": "drop", "deduplicate": duplicates})
    outcome = preprocess(spec, tokenizer, Path(output), lambda path, key: None, LogReport())
    write_report(outcome, spec, tokenizer, Path(output))


if __name__ == "__main__":
    main()
