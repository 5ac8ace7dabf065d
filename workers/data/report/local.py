"""A data report for a file or a job file on this machine, without coordinator or worker."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from luthier.artifacts import ArtifactRef
from luthier.settings import WorkerSettings
from luthier.spec import DataSpec, load_job_file
from workers.apart import call_apart
from workers.data.augment import Writers, open_writer
from workers.data.engine import use_engine
from workers.data.pipeline import preprocess
from workers.data.places import Remote
from workers.data.report import write_report
from workers.data.report.bare import objective_of
from workers.data.tokens.base_tokenizer import tokenizer_named
from workers.failures import ConfigError

_log = logging.getLogger(__name__)


class LogReport:
    """A `workers.task.Report` that only logs."""

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        """How far it is."""
        _log.info("%s: %d of %d", message, step, num_steps)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """There are none."""

    def checkpoint(self, ref: ArtifactRef, step: int) -> None:
        """There are none."""

    def retire(self, uris: Sequence[str]) -> None:
        """There are none."""

    def should_stop(self) -> bool:
        """Never: a person may press Ctrl-C."""
        return False


def local_report(path: Path, base_model: str, output: Path, settings: WorkerSettings) -> dict[str, Any]:
    """Preprocesses the rows at `path`, or those of the job file at `path`, into the new folder `output`.

    `base_model` says whose tokenizer; empty: the job file's. Returns what report.json says.

    Raises:
        ConfigError: no base model is named, or it does not fit the rows.
        DataError: the rows cannot be used.
        InvalidSpecError: the job file does not fit the schema.
        FileExistsError: `output` is there already.
    """
    added_tokens: list[str] = []
    if path.suffix in (".yaml", ".yml"):
        job = load_job_file(path)
        data, objective, base_model = job.data, job.objective, base_model or job.base_model
        added_tokens = job.added_tokens
    else:
        data, objective = DataSpec(path=str(path.absolute())), objective_of(path)
    if not base_model:
        raise ConfigError("name the base model whose tokenizer is to be used (--base-model)")
    readable = settings.model_copy(update={"data_roots": "/"})
    tokenizer = call_apart(tokenizer_named, base_model, readable, added_tokens, data.chat_template)
    writers = Writers(partial(open_writer, settings=readable))
    output.mkdir(parents=True)
    use_engine(data.engine, settings.ray_address, output.parent.absolute())
    outcome = preprocess(data, tokenizer, output, _anything, LogReport(), objective, Remote.of(settings), writers)
    return write_report(outcome, data, tokenizer, output)


def _anything(path: str, key: str) -> None:
    """What the caller may read, we may read."""
