"""The wish to stop, which every pass over rows heeds between two batches."""

from workers.failures import PreemptedError
from workers.task import Report


def check_stop(report: Report) -> None:
    """
    Raises:
        PreemptedError: the worker drains. There is nothing to resume from: reading rows again is quick.
    """
    if report.should_stop():
        raise PreemptedError("preprocess was asked to stop; another attempt starts from the files")
