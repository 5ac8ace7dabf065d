"""Stage kinds for benchmarks: `--stages bench_stages:NOOP` does nothing, `bench_stages:ENDLESS` never ends."""

import time

from workers.task import Report, StageResult, Task

KINDS = ("preprocess", "train", "evaluate", "export", "deploy")
NOOP = dict.fromkeys(KINDS, "bench_stages:nothing")
ENDLESS = dict.fromkeys(KINDS, "bench_stages:endless")

_STEP_SECONDS = 0.2


def nothing(task: Task, report: Report) -> StageResult:
    """Ends at once."""
    return StageResult()


def endless(task: Task, report: Report) -> StageResult:
    """Takes a small step now and then until it is killed."""
    step = 0
    while True:
        step += 1
        report.progress(step, 0, "going on")
        time.sleep(_STEP_SECONDS)
