"""The second pass: the rows that stay, tokenised, into the files of their splits.

Where several sources are mixed, their training rows wait in a file each until all are there.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import parquet as pq
from transformers import PreTrainedTokenizerBase

from luthier.spec import DataSpec
from workers.data import problems
from workers.data.dataset import SCHEMA, SPLITS, SplitName, open_split
from workers.data.dedup import Decisions
from workers.data.outcome import Outcome, faults_of
from workers.data.parts import Part
from workers.data.problems import Fault
from workers.data.sources import SourceFile
from workers.data.splits.mixing import Mixture, mix, mixed
from workers.data.stop import check_stop
from workers.data.storage.tables import TableWriter, open_table
from workers.data.tally import Tally
from workers.data.tokens.encode import Encoder
from workers.data.tokens.fit import Limit
from workers.data.tokens.tokenise import tokenise
from workers.data.tokens.windows import split_windows
from workers.failures import ConfigError, DataError
from workers.task import Report

_WAITING = pa.schema([*SCHEMA, ("num_trainable", pa.int32())])


def write_splits(
    spec: DataSpec,
    rows: Path,
    added: Path,
    decisions: Decisions,
    tokenizer: PreTrainedTokenizerBase,
    output: Path,
    outcome: Outcome,
    report: Report,
) -> None:
    """Every row that stays into the file of its split; `added` has training rows by part, which all stay."""
    is_mixed = outcome.strategy != "concatenate"
    waiting = [rows / f"{number:04}.parquet" for number in range(len(outcome.parts))]
    num_added = outcome.sum(lambda tally: tally.num_augmented.total())
    advance = _progress(int((decisions.split >= 0).sum()) + num_added, outcome.num_rows, report)
    start = 0
    with ExitStack() as stack:
        tables = {name: stack.enter_context(open_split(output, name)) for name in SPLITS}
        for number, part in enumerate(outcome.parts):
            tally = outcome.tallies[number]
            encoder, limit = Encoder(tokenizer, part.targets), Limit(part.max_length, part.overlong)
            folder = rows / f"{number:04}"
            with open_table(waiting[number], _WAITING) as hall:
                made = np.zeros(tally.num_augmented.total(), np.int8)
                for batch in chain(
                    tokenise(folder, start, decisions.split, encoder, limit),
                    tokenise(added / f"{number:04}", 0, made, encoder, limit) if len(made) else (),
                ):
                    check_stop(report)
                    for name, table in _kept(batch, part, tally, outcome.files):
                        if is_mixed and name == "train":
                            hall.write(table)
                        else:
                            _keep(name, table, tally, outcome, tables)
                    advance(batch.num_rows)
            start += sum(pq.read_metadata(file).num_rows for file in folder.iterdir())
        if is_mixed:
            _write_mixture(spec, waiting, outcome, tables, report)


def _kept(
    batch: pa.RecordBatch, part: Part, tally: Tally, files: Sequence[SourceFile]
) -> Iterator[tuple[SplitName, pa.Table]]:
    """The rows of a tokenised batch that stay, by split; the others go into the ledger.

    Raises:
        ConfigError: the chat template cannot be trained on.
        DataError: a row is too long, and the job wants none to be.
    """
    faults = faults_of(batch, files)
    tally.ledger.add(faults)
    unstable = next((fault for fault in faults if fault.reason == problems.UNSTABLE_TEMPLATE), None)
    if unstable is not None:
        raise ConfigError(
            f"the chat template of base_model cannot be trained on with this row, {unstable}. Give "
            "such conversations as one row per answer, or use a model whose template leaves earlier turns alone"
        )
    overlong = next((fault for fault in faults if fault.reason == problems.OVERLONG), None)
    if part.overlong == "raise" and overlong is not None:
        raise DataError(
            f"{overlong}; make the row shorter, raise data.max_length, or set data.overlong to drop or truncate"
        )
    tally.warnings.update(batch["warning"].drop_null().to_pylist())
    good = pa.Table.from_batches([batch])
    if faults:
        good = good.filter(pc.is_null(batch["reason"]))
    good = good.append_column("source", pa.array([file.name for file in files], pa.string()).take(good["file"]))
    good = good.append_column("component", pa.array([part.name] * good.num_rows, pa.string()))
    tally.num_truncated += pc.sum(batch["was_truncated"]).as_py() or 0
    tally.num_control_text += pc.sum(good["has_control_text"]).as_py() or 0
    if part.overlong == "split":
        num_rows = good.num_rows
        good = split_windows(good, part.max_length)
        tally.num_added_windows += good.num_rows - num_rows
    # Put in the order of the splits once, which is quicker than to look for the rows of each.
    splits = good["split"].to_numpy()
    good = good.take(pa.array(np.argsort(splits, kind="stable")))
    stops = np.cumsum(np.bincount(splits, minlength=len(SPLITS))).tolist()
    for name, start, stop in zip(SPLITS, [0, *stops], stops, strict=False):
        yield name, good.slice(start, stop - start)


def _keep(
    name: SplitName, rows: pa.Table, tally: Tally, outcome: Outcome, tables: dict[SplitName, TableWriter]
) -> None:
    tables[name].write(rows)
    tally.keep(name, rows)
    outcome.splits[name].add(rows)


def _write_mixture(
    spec: DataSpec, waiting: Sequence[Path], outcome: Outcome, tables: dict[SplitName, TableWriter], report: Report
) -> None:
    """The training rows that wait, as they are drawn.

    Raises:
        DataError: a part that is to be drawn from has none, or the mixture would be enormous.
    """
    sizes = [pq.read_metadata(file).num_rows for file in waiting]
    for part, tally, size in zip(outcome.parts, outcome.tallies, sizes, strict=True):
        if part.weight and not size:
            raise DataError(
                f"{part.key}: no row is left to train on: {tally.num_rows} read, dropped: {tally.ledger.summary()}; "
                "mend its rows, give it weight: 0, or leave it out"
            )
    mixture = mix(spec, outcome.parts, sizes)
    for number, (tally, file) in enumerate(zip(outcome.tallies, waiting, strict=True)):
        tally.probability = mixture.probabilities[number]
        tally.num_repeats = max(0, mixture.counts[number] - sizes[number])
        _note_left_out(mixture, number, file, tally)
    num_done = 0
    for rows in mixed(mixture, waiting):
        check_stop(report)
        tables["train"].write(rows)
        outcome.splits["train"].add(rows)
        for tally in outcome.tallies:
            tally.keep("train", rows.filter(pc.equal(rows["component"], tally.name)))
        num_done += rows.num_rows
        report.progress(num_done, len(mixture.draws), "mixing the sources")


def _note_left_out(mixture: Mixture, number: int, file: Path, tally: Tally) -> None:
    missing = ~mixture.chosen(number, 0)
    first = pa.array(missing.nonzero()[0][:20])
    places = pq.read_table(file, columns=["source", "row"]).take(first).to_pylist()
    detail = "another source was exhausted before" if mixture.probabilities[number] else "the weight of its source is 0"
    faults = [Fault(place["source"], place["row"], problems.LEFT_OUT, detail) for place in places]
    tally.ledger.count(problems.LEFT_OUT, int(missing.sum()), faults)


def _progress(num_wanted: int, num_before: int, report: Report) -> Callable[[int], None]:
    """A function that takes note of tokenised rows; `num_before` steps were done before."""
    num_done = 0
    started = time.monotonic()

    def advance(num_rows: int) -> None:
        nonlocal num_done
        num_done += num_rows
        eta = (time.monotonic() - started) / max(num_done, 1) * (num_wanted - num_done)
        message = "applying the chat template and tokenising"
        report.progress(num_before + num_done, num_before + num_wanted, message, eta)

    return advance
