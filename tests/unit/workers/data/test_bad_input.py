"""What people hand in by mistake, or to do harm: one table, every row of it through the whole stage.

Each case is refused with its place and what to do about it; or its bad rows can be left out, and then every row that
was read is kept or dropped with a reason. Nothing hangs, and nothing stays on the disk but the dataset.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from luthier.spec import DataSpec
from tests.unit.workers.data.bad_input.case import Case
from tests.unit.workers.data.bad_input.conversations import LABELS, MENDED, ROLES, TEMPLATES, TOGETHER
from tests.unit.workers.data.bad_input.files import PACKED, TABLES
from tests.unit.workers.data.bad_input.label_sets import LABEL_SETS
from tests.unit.workers.data.bad_input.places import PLACES
from tests.unit.workers.data.bad_input.text import TEXT
from workers.data.pipeline import preprocess
from workers.task import check_readable

CASES = [*TEXT, *PACKED, *TABLES, *ROLES, *LABELS, *LABEL_SETS, *TOGETHER, *MENDED, *TEMPLATES, *PLACES]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0, "max_length": 512}
MAX_SECONDS = 60.0
"""For one case on a busy machine; most take a tenth of a second."""
MAX_LEFT_BYTES = 1 << 20


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused_or_counted(
    case: Case, tmp_path: Path, tokenizer: PreTrainedTokenizerBase, recorder: Any
) -> None:
    given, work = tmp_path / "given", tmp_path / "work"
    given.mkdir()
    work.mkdir()
    path = case.make(given)
    if case.template is not None:
        tokenizer.chat_template = case.template or None
    readable = partial(check_readable, data_roots=str(given))

    def run(on_invalid_row: str) -> Any:
        output = work / on_invalid_row
        output.mkdir()
        spec = DataSpec(path=str(path), on_invalid_row=on_invalid_row, **WHOLE | dict(case.settings))
        return preprocess(spec, tokenizer, output, readable, recorder, case.objective, case.remote)

    started = time.monotonic()
    if case.says:
        with pytest.raises(case.kind, match=case.says):
            run("fail")
    if case.dropped is None:
        with pytest.raises(case.kind):
            run("drop")
    else:
        outcome = run("drop")
        num_kept = sum(split.num_rows for split in outcome.splits.values())
        assert outcome.ledger.counts == case.dropped
        assert outcome.repairs.counts == case.repaired
        assert (outcome.num_rows, num_kept) == (case.kept + sum(case.dropped.values()), case.kept)
    assert time.monotonic() - started < MAX_SECONDS
    left = [file for file in work.rglob("*") if file.is_file()]
    assert {file.relative_to(work).parts[0] for file in left} <= {"fail", "drop"}
    assert sum(file.stat().st_size for file in left) < MAX_LEFT_BYTES
    assert not (tmp_path.parent / "rows.jsonl").exists()


def test_no_name_stands_for_two_cases() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
