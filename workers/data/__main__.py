"""`python -m workers.data JOB_OR_FILE --base-model NAME --output DIR`: the data report without a job.

Writes the dataset artifact into DIR and prints report.json. On a bad dataset the reason goes to stderr, exit 1. Reads
with the rights of whoever calls it: LUTHIER_DATA_ROOTS protects workers from other people's job files, not from this.
"""

import argparse
import json
import sys
from pathlib import Path

from luthier.errors import InvalidSpecError
from luthier.settings import WorkerSettings
from workers.data.report.local import local_report
from workers.failures import StageError


def main() -> int:
    """The process. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers.data", description="Report on a dataset.")
    parser.add_argument("job_or_file", type=Path, help="job file (.yaml, .yml), or file or folder with rows")
    parser.add_argument("--base-model", default="", help="whose tokenizer; a job file names its own")
    parser.add_argument("--output", type=Path, required=True, help="new folder for the dataset and its report")
    arguments = parser.parse_args()
    try:
        document = local_report(arguments.job_or_file, arguments.base_model, arguments.output, WorkerSettings())
    except (StageError, InvalidSpecError, FileExistsError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(document, ensure_ascii=False))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
