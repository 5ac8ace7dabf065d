"""The stage from files to dataset artifact, step by step, without a job around it.

Two passes, both streamed by Daft in batches: the first reads, checks and fingerprints every row into scratch files,
the second tokenises the rows that stay. In between only fingerprints are in memory. Rows of several sources go through
both source by source.
"""

import tempfile
from pathlib import Path

import pyarrow as pa
from pyarrow import compute as pc
from transformers import PreTrainedTokenizerBase

from luthier.spec import DataSpec, ObjectiveSpec, SftSpec
from luthier.spec.data.location import without_query
from workers.data import problems
from workers.data.augment import NO_WRITERS, Writers, add_rows
from workers.data.dataset import SPLITS
from workers.data.dedup import Benchmark, decide, find_benchmark, write_clusters
from workers.data.engine.carried import raise_carried
from workers.data.inputs import Inputs, find_inputs
from workers.data.outcome import Outcome, faults_of, note_decisions, note_repairs
from workers.data.places import CheckReadable, Remote
from workers.data.quality import assess, check_quality
from workers.data.scan import read_rows
from workers.data.select import balance, select
from workers.data.shapes import SHAPES
from workers.data.sources import check_unchanged
from workers.data.splits.known_classes import check_classes
from workers.data.splits.learned import check_drawn, check_written
from workers.data.splits.mixing import strategy_of
from workers.data.stop import check_stop
from workers.data.storage.tables import open_parts
from workers.data.tally import Tally
from workers.data.tokens.render import check_tokenizer
from workers.data.writing import write_splits
from workers.failures import DataError
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
        ("language", pa.string()),
        ("augmented", pa.string()),
        ("signature", pa.binary()),
        ("group", pa.uint64()),
        ("stratum", pa.string()),
        ("time", pa.float64()),
        ("label", pa.string()),
        ("labels", pa.string()),
        ("difficulty", pa.float64()),
    ]
)

_DEFAULT_OBJECTIVE = SftSpec()
_NOWHERE = Remote()


def preprocess(
    spec: DataSpec,
    tokenizer: PreTrainedTokenizerBase,
    output: Path,
    check_readable: CheckReadable,
    report: Report,
    objective: ObjectiveSpec = _DEFAULT_OBJECTIVE,
    remote: Remote = _NOWHERE,
    writers: Writers = NO_WRITERS,
) -> Outcome:
    """Writes the three splits into `output`, an existing folder, and says what became of every row.

    Raises:
        ConfigError: a path may not be read, or the tokenizer does not fit the rows.
        DataError: the files cannot be used, with file and line; or nothing is left to train on.
        DependencyError: a place of rows does not answer.
        PreemptedError: the worker drains; there is nothing to resume from.
    """
    with find_inputs(spec, objective, tokenizer, check_readable, remote, output.parent, report) as inputs:
        return process(spec, inputs, tokenizer, output, check_readable, report, writers)


def process(
    spec: DataSpec,
    inputs: Inputs,
    tokenizer: PreTrainedTokenizerBase,
    output: Path,
    check_readable: CheckReadable,
    report: Report,
    writers: Writers = NO_WRITERS,
) -> Outcome:
    """What `preprocess` does once the files are found. Raises as it does."""
    parts, found, files = inputs.parts, inputs.found, inputs.files
    benchmark = find_benchmark(spec, inputs.benchmark)
    check_tokenizer(tokenizer, for_chat=any(not SHAPES[file.shape].is_text for file in files))
    part_of_file = [number for number, own in enumerate(found) for _ in own]
    tallies = [Tally(part.name) for part in parts]
    outcome = Outcome(parts, files, part_of_file, [0] * len(files), tallies, strategy_of(spec), version=inputs.version)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix="rows-") as scratch:
        rows = Path(scratch) / "rows"
        rows.mkdir()
        for number, part in enumerate(parts):
            _read(number, spec, rows / f"{number:04}", outcome, benchmark, report)
            if outcome.tallies[number].num_rows == 0:
                where = ", ".join(map(without_query, part.paths["train"]))
                raise DataError(f"{part.key}.path: {where} holds no rows; expected at least one")
        _refuse_invalid(spec, outcome)
        if outcome.ledger.counts.total() == outcome.num_rows:
            raise _nothing_left(outcome)
        report.progress(outcome.num_rows, 2 * outcome.num_rows, "looking for duplicates")
        decisions = decide(rows, parts, part_of_file, spec)
        decisions = select(rows, decisions, part_of_file, spec, check_readable, report)
        decisions, copies = balance(rows, decisions, part_of_file, spec)
        if all(part.targets == "nothing" for part in parts):
            check_classes(rows, decisions.split)
            check_drawn(rows, decisions, inputs, spec)
        if spec.quality.report:
            quality = assess(rows, decisions, files, part_of_file, [tally.ledger for tally in tallies])
            outcome.quality, outcome.quality_by_part = quality.whole, quality.by_part
            check_quality(quality.whole, spec.quality)
        note_decisions(decisions, outcome)
        if spec.deduplication.near is not None:
            outcome.clusters = write_clusters(rows, decisions, files, output / "clusters.parquet")
        added = add_rows(rows, decisions, copies, outcome, spec, check_readable, writers, report)
        write_splits(spec, rows, added, decisions, tokenizer, output, outcome, report)
    _refuse_invalid(spec, outcome)
    num_train = outcome.splits["train"].num_rows
    if num_train == 0:
        raise _nothing_left(outcome)
    check_written(output, inputs)
    if spec.curriculum is not None and outcome.sum(lambda tally: tally.num_without_difficulty) == num_train:
        raise DataError(
            f"data.curriculum.difficulty_by: no training row has a number in {spec.curriculum.difficulty_by!r}; name "
            "the column that has it, or leave data.curriculum out"
        )
    return outcome


def _read(
    number: int, spec: DataSpec, rows: Path, outcome: Outcome, benchmark: Benchmark | None, report: Report
) -> None:
    """Every good row of a part into the folder `rows`, every bad one into its ledger."""
    part, tally = outcome.parts[number], outcome.tallies[number]
    splits = pa.array([SPLITS.index(file.split) for file in outcome.files], pa.int8())
    own = [file for file, owner in zip(outcome.files, outcome.part_of_file, strict=True) if owner == number]
    num_written = sum(other.num_rows - other.ledger.counts.total() for other in outcome.tallies[:number])
    with open_parts(rows, _ROWS) as table:
        first = outcome.part_of_file.index(number)
        for batch in read_rows(own, first, part, spec, benchmark):
            check_stop(report)
            raise_carried(batch)
            tally.num_rows += batch.num_rows
            for entry in pc.value_counts(batch["file"]).to_pylist():
                outcome.rows_per_file[entry["values"]] += entry["counts"]
            faults = faults_of(batch, outcome.files)
            tally.ledger.add(faults)
            note_repairs(batch, outcome.files, tally.repairs)
            broken = next((fault for fault in faults if fault.reason == problems.BROKEN_FILE), None)
            if broken is not None:
                raise DataError(f"{broken}; nothing after this place can be read, so it cannot be left out either")
            good = pa.Table.from_batches([batch]).filter(pc.is_null(batch["reason"]))
            good = good.append_column("split", splits.take(good["file"]))
            good = good.append_column("augmented", pa.nulls(good.num_rows, pa.string()))
            ordinals = pa.array(range(num_written, num_written + good.num_rows), pa.int64())
            table.write(good.append_column("ordinal", ordinals))
            num_written += good.num_rows
            report.progress(outcome.num_rows, 0, "reading and checking rows")
    check_unchanged(own)


def _refuse_invalid(spec: DataSpec, outcome: Outcome) -> None:
    ledger = outcome.ledger
    if ledger.num_invalid and spec.on_invalid_row == "fail":
        raise DataError(ledger.invalid_message(outcome.num_rows))


def _nothing_left(outcome: Outcome) -> DataError:
    invalid = "".join(f"\n  {fault}" for fault in outcome.ledger.first_invalid(3))
    return DataError(
        f"no row is left to train on: {outcome.num_rows} read, dropped: {outcome.ledger.summary()}, "
        f"validation {outcome.splits['validation'].num_rows}, test {outcome.splits['test'].num_rows}; "
        f"see data.max_length, data.overlong and the rows themselves{invalid and ', such as:'}{invalid}"
    )
