"""The answers of a model in the job's artifact store, so that what was paid for survives the worker that asked."""

import logging
import shutil
import uuid
from functools import partial

from luthier.artifacts import ArtifactError, fetch, join, publish
from workers.data.augment.open_writer import open_writer
from workers.data.augment.remembering import REPLIES_FILE, count_replies
from workers.data.augment.writer import NO_WRITERS, Writers
from workers.task import Report, Task

_log = logging.getLogger(__name__)


class ReplyCheckpoints:
    """Checkpoints of one file."""

    def __init__(self, task: Task, report: Report) -> None:
        """The file holds what earlier tries of the stage were answered."""
        self._task = task
        self._report = report
        self._key = task.settings.checkpoint_key.get_secret_value().encode() or None
        self._committed = [checkpoint.uri for checkpoint in reversed(task.checkpoints)]
        self.file = task.new_dir("replies") / REPLIES_FILE
        self._restore()
        self._num_kept = count_replies(self.file)

    def keep(self) -> None:
        """Commits the file, unless it is committed already; older checkpoints are retired but for one.

        Raises:
            OSError: it cannot be written.
        """
        num_replies = count_replies(self.file)
        if num_replies == self._num_kept:
            return
        self._num_kept = num_replies
        folder = self._task.work_dir / f"replies-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        shutil.copyfile(self.file, folder / REPLIES_FILE)
        name = f"{num_replies}.{self._task.assignment.stage.fence}"
        ref = publish(folder, join(self._task.output_uri, "checkpoints", name), key=self._key)
        shutil.rmtree(folder, ignore_errors=True)  # on one disk it was moved
        self._report.checkpoint(ref, num_replies)
        self._committed.append(ref.uri)
        self._report.retire(self._committed[:-2])
        self._committed = self._committed[-2:]

    def _restore(self) -> None:
        for checkpoint in self._task.checkpoints:
            into = self._task.work_dir / f"fetched-{uuid.uuid4().hex[:8]}"
            try:
                folder = fetch(checkpoint.uri, into, digest=checkpoint.digest, key=self._key)
                shutil.copyfile(folder / REPLIES_FILE, self.file)
            except (ArtifactError, FileNotFoundError) as error:
                _log.warning("the answers of %s are not usable, trying those before: %s", checkpoint.uri, error)
                continue
            return


def writers_of(task: Task, report: Report) -> Writers:
    """The models that a job may ask; what they answer is kept in checkpoints."""
    augment = task.spec.data.augment
    if augment is None or augment.writer is None:
        return NO_WRITERS
    checkpoints = ReplyCheckpoints(task, report)
    return Writers(partial(open_writer, settings=task.settings), replies=checkpoints.file, keep=checkpoints.keep)
