"""The stage from files to dataset artifact, step by step, without a job around it.

Two passes, both streamed by Daft in batches: the first reads, checks and fingerprints every row into scratch files,
the second tokenises the rows that stay. In between only fingerprints are in memory.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from pyarrow import compute as pc
from transformers import PreTrainedTokenizerBase

from luthier.spec import DataSpec, ObjectiveSpec, SftSpec
from workers.data import problems
from workers.data.canonical import read_rows
from workers.data.dataset import NOTES, SCHEMA, SPLITS, SplitName, split_path
from workers.data.dedup import Decisions, decide
from workers.data.encode import Encoder
from workers.data.problems import Fault, Ledger
from workers.data.render import check_tokenizer
from workers.data.sources import CheckReadable, SourceFile, describe, find_files
from workers.data.statistics import SplitStatistics
from workers.data.tables import open_parts, open_table
from workers.data.targets import targets_of
from workers.data.tokenise import tokenise
from workers.data.windows import split_windows
from workers.failures import ConfigError, DataError, PreemptedError
from workers.task import Report

_ROWS = pa.schema(
    [
        ("ordinal", pa.int64()),
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("split", pa.int8()),
        ("messages", pa.string()),
        ("text", pa.string()),
        ("notes", pa.string()),
        ("fingerprint", pa.uint64()),
        ("fingerprint_low", pa.uint64()),
    ]
)


_DEFAULT_OBJECTIVE = SftSpec()


@dataclass
class Outcome:
    """All that the report is made of."""

    files: list[SourceFile]
    rows_per_file: list[int]
    """Rows read, by file."""
    ledger: Ledger = field(default_factory=Ledger)
    """Every row that was dropped."""
    splits: dict[SplitName, SplitStatistics] = field(
        default_factory=lambda: {name: SplitStatistics() for name in SPLITS}
    )
    num_truncated: int = 0
    num_added_windows: int = 0
    """Examples beyond the first one of their row."""
    num_control_text: int = 0
    """Rows whose text spells a control token."""

    @property
    def num_rows(self) -> int:
        """Rows read."""
        return sum(self.rows_per_file)


def preprocess(
    spec: DataSpec,
    tokenizer: PreTrainedTokenizerBase,
    output: Path,
    check_readable: CheckReadable,
    report: Report,
    objective: ObjectiveSpec = _DEFAULT_OBJECTIVE,
) -> Outcome:
    """Writes the three splits into `output`, an existing folder, and says what became of every row.

    Raises:
        ConfigError: a path may not be read, or the tokenizer does not fit the rows.
        DataError: the files cannot be used, with file and line; or nothing is left to train on.
        PreemptedError: the worker drains; there is nothing to resume from.
    """
    report.progress(0, 0, "looking at the files")
    files = find_sources(spec, check_readable, objective.row_formats)
    check_tokenizer(tokenizer, for_chat=any(file.shape not in ("text", "labelled_text") for file in files))
    outcome = Outcome(files, [0] * len(files))
    with tempfile.TemporaryDirectory(dir=output.parent, prefix="rows-") as scratch:
        rows = Path(scratch) / "rows"
        _read(spec, rows, outcome, report)
        if outcome.num_rows == 0:
            raise DataError(f"data.path: {spec.path} holds no rows; expected at least one")
        _refuse_invalid(spec, outcome)
        if outcome.ledger.counts.total() == outcome.num_rows:
            raise _nothing_left(outcome)
        report.progress(outcome.num_rows, 2 * outcome.num_rows, "looking for duplicates")
        decisions = decide(rows, spec)
        _note_duplicates(decisions, outcome)
        _tokenise(spec, rows, decisions, Encoder(tokenizer, targets_of(objective)), output, outcome, report)
    _refuse_invalid(spec, outcome)
    if outcome.splits["train"].num_rows == 0:
        raise _nothing_left(outcome)
    return outcome


def find_sources(spec: DataSpec, check_readable: CheckReadable, formats: Sequence[str]) -> list[SourceFile]:
    """All files of the job in reading order, described; their rows have one of `formats`.

    Raises:
        ConfigError: a path may not be read.
        DataError: a file is missing, empty, or not of a known type and shape.
    """
    paths: list[tuple[str, SplitName, str | None]] = [
        ("data.path", "train", spec.path),
        ("data.validation_path", "validation", spec.validation_path),
        ("data.test_path", "test", spec.test_path),
    ]
    return [
        describe(file, spec.format, key, formats)
        for key, split, path in paths
        if path
        for file in find_files(path, key, split, spec.file_type, check_readable)
    ]


def _read(spec: DataSpec, rows: Path, outcome: Outcome, report: Report) -> None:
    """Every good row into the folder `rows`, every bad one into the ledger."""
    splits = pa.array([SPLITS.index(file.split) for file in outcome.files], pa.int8())
    num_written = 0
    with open_parts(rows, _ROWS) as table:
        for batch in read_rows(outcome.files, spec.system_prompt, spec.seed).to_arrow_iter():
            _check_stop(report)
            for entry in pc.value_counts(batch["file"]).to_pylist():
                outcome.rows_per_file[entry["values"]] += entry["counts"]
            faults = _faults(batch, outcome.files)
            outcome.ledger.add(faults)
            broken = next((fault for fault in faults if fault.reason == problems.BROKEN_FILE), None)
            if broken is not None:
                raise DataError(f"{broken}; nothing after this place can be read, so it cannot be left out either")
            good = pa.Table.from_batches([batch]).filter(pc.is_null(batch["reason"]))
            good = good.append_column("split", splits.take(good["file"]))
            ordinals = pa.array(range(num_written, num_written + good.num_rows), pa.int64())
            table.write(good.append_column("ordinal", ordinals))
            num_written += good.num_rows
            report.progress(outcome.num_rows, 0, "reading and checking rows")


def _tokenise(
    spec: DataSpec,
    rows: Path,
    decisions: Decisions,
    encoder: Encoder,
    output: Path,
    outcome: Outcome,
    report: Report,
) -> None:
    """Every row that stays into the file of its split."""
    names = pa.array([file.name for file in outcome.files], pa.string())
    num_wanted = int((decisions.split >= 0).sum())
    num_done = 0
    started = time.monotonic()
    with ExitStack() as stack:
        schema = pa.unify_schemas([SCHEMA, NOTES])
        tables = {name: stack.enter_context(open_table(split_path(output, name), schema)) for name in SPLITS}
        for batch in tokenise(rows, decisions.split, encoder, spec):
            _check_stop(report)
            faults = _faults(batch, outcome.files)
            outcome.ledger.add(faults)
            unstable = next((fault for fault in faults if fault.reason == problems.UNSTABLE_TEMPLATE), None)
            if unstable is not None:
                raise ConfigError(
                    f"the chat template of base_model cannot be trained on with this row, {unstable}. Give "
                    "such conversations as one row per answer, or use a model whose template leaves earlier turns alone"
                )
            good = pa.Table.from_batches([batch]).filter(pc.is_null(batch["reason"]))
            good = good.append_column("source", names.take(good["file"]))
            if spec.overlong == "split":
                num_rows = good.num_rows
                good = split_windows(good, spec.max_length)
                outcome.num_added_windows += good.num_rows - num_rows
            for number, name in enumerate(SPLITS):
                part = good.filter(pc.equal(good["split"], number))
                tables[name].write(part)
                outcome.splits[name].add(part)
            outcome.num_truncated += pc.sum(batch["was_truncated"]).as_py() or 0
            outcome.num_control_text += pc.sum(good["has_control_text"]).as_py() or 0
            num_done += batch.num_rows
            eta = (time.monotonic() - started) / num_done * (num_wanted - num_done)
            done = outcome.num_rows + num_done
            report.progress(done, outcome.num_rows + num_wanted, "applying the chat template and tokenising", eta)


def _note_duplicates(decisions: Decisions, outcome: Outcome) -> None:
    def place(ordinal: int) -> tuple[str, int]:
        return outcome.files[decisions.file[ordinal]].name, int(decisions.row[ordinal])

    kinds = {problems.DUPLICATE: decisions.is_duplicate, problems.IN_OTHER_SPLIT: decisions.is_leak}
    for reason, chosen in kinds.items():
        first = []
        for ordinal in chosen.nonzero()[0][:20].tolist():
            twin = int(decisions.twin[ordinal])
            first.append(Fault(*place(ordinal), reason, "same text as {} row {}".format(*place(twin))))
        outcome.ledger.count(reason, int(chosen.sum()), first)


def _faults(batch: pa.RecordBatch, files: Sequence[SourceFile]) -> list[Fault]:
    bad = (
        pa.Table.from_batches([batch]).filter(pc.is_valid(batch["reason"])).select(["file", "row", "reason", "detail"])
    )
    return [Fault(files[row["file"]].name, row["row"], row["reason"], row["detail"]) for row in bad.to_pylist()]


def _refuse_invalid(spec: DataSpec, outcome: Outcome) -> None:
    if outcome.ledger.num_invalid and spec.on_invalid_row == "fail":
        raise DataError(outcome.ledger.invalid_message(outcome.num_rows))


def _nothing_left(outcome: Outcome) -> DataError:
    return DataError(
        f"no row is left to train on: {outcome.num_rows} read, dropped: {outcome.ledger.summary()}, "
        f"validation {outcome.splits['validation'].num_rows}, test {outcome.splits['test'].num_rows}; "
        f"see data.max_length, data.overlong and the rows themselves"
    )


def _check_stop(report: Report) -> None:
    if report.should_stop():
        raise PreemptedError("preprocess was asked to stop; another attempt starts from the files")
