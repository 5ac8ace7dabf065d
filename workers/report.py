"""The runner's end of the pipe: how a stage's words reach the supervisor without making the stage wait."""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from queue import SimpleQueue

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from luthier.artifacts import ArtifactRef
from luthier.v1.stage_pb2 import Checkpoint, MetricPoint, Progress
from workers.contract import LogLine, Message, Retirement, encode

_MAX_TEXT = 2000
_CLOSE_SECONDS = 5.0


class PipeReport:
    """A `workers.task.Report` whose calls only put a line into a queue; a thread of its own writes the pipe.

    Safe to call from any thread. When the supervisor is gone the lines go nowhere: the kernel ends this process then.
    """

    def __init__(self, descriptor: int, attempt: int, fence: int) -> None:
        """Writes to the open file `descriptor`, and closes it in `close`."""
        self._descriptor = descriptor
        self._attempt = attempt
        self._fence = fence
        self._stop = False
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="report", daemon=True)
        self._writer.start()

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        """How far the stage is."""
        eta = None
        if eta_seconds is not None:
            eta = Duration()
            eta.FromMilliseconds(int(eta_seconds * 1000))
        self._send(Progress(step=step, num_steps=num_steps, message=message[:_MAX_TEXT], eta=eta))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """One row of metrics of one step; an empty one is not sent."""
        if not values:
            return
        now = Timestamp()
        now.GetCurrentTime()
        self._send(MetricPoint(step=step, time=now, values={name: float(value) for name, value in values.items()}))

    def checkpoint(self, ref: ArtifactRef, step: int) -> None:
        """A checkpoint was published and may be resumed from."""
        self._send(
            Checkpoint(uri=ref.uri, digest=ref.digest, step=step, attempt=self._attempt, fence=self._fence),
        )

    def retire(self, uris: Sequence[str]) -> None:
        """These checkpoints are needed no more; none of them is the newest or the best."""
        if uris:
            self._send(Retirement(tuple(uris)))

    def log(self, record: logging.LogRecord) -> None:
        """A log record, for the supervisor's log."""
        self._send(LogLine(record.levelno, record.name, record.getMessage()[:_MAX_TEXT]))

    def should_stop(self) -> bool:
        """Whether the worker drains."""
        return self._stop

    def ask_to_stop(self) -> None:
        """Makes `should_stop` true. Takes no lock, so a signal handler may call it."""
        self._stop = True

    def close(self) -> None:
        """Sends what is still queued, then closes the pipe: the supervisor takes that for the end."""
        self._lines.put(None)
        self._writer.join(_CLOSE_SECONDS)

    def _send(self, message: Message) -> None:
        self._lines.put(encode(message))

    def _write(self) -> None:
        with os.fdopen(self._descriptor, "wb", buffering=0) as pipe:
            while (line := self._lines.get()) is not None:
                try:
                    pipe.write(line)
                except BrokenPipeError:
                    return


class ReportHandler(logging.Handler):
    """Hands the runner's log records to the supervisor."""

    def __init__(self, report: PipeReport) -> None:
        super().__init__(logging.INFO)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`, from any thread."""
        self._report.log(record)
