"""Stage `deploy`: the exported model into Triton, one validation request, and then it is ACTIVE.

    check configuration -> install files -> load -> ask once -> done
                                      any failure: unload, remove the files

Doing it again is safe at every point: files of the same export are kept, a model that is loaded serves on until its
successor has been loaded, and a failed attempt leaves nothing behind.
"""

import json
import math
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

from luthier.artifacts import read_manifest
from luthier.ids import check_id
from luthier.inference_wire import InferenceRequest
from luthier.settings import WorkerSettings
from luthier.spec import DeploySpec
from workers.deployment.repository import install, remove
from workers.deployment.triton import Answer, Triton
from workers.failures import ConfigError
from workers.task import Report, StageResult, Task

_VALIDATION_TOKENS = 16
_TICK_SECONDS = 1.0


def run(task: Task, report: Report) -> StageResult:
    """Deploys the model that `export` left.

    Raises:
        ConfigError: there is no Triton for this worker, or the model has no answer to the validation prompt.
        DataError: the export is damaged; what is deployed serves on.
        DependencyError: Triton does not answer; the stage is tried again.
        StageError: Triton cannot load or run the model.
    """
    deploy = task.spec.deploy
    assert deploy is not None, "the planner makes a deploy stage only for a job with a deploy section"
    export = task.input("export")
    _check_configured(task.settings, export.artifact.uri)
    name = check_id(json.loads(export.result_json)["triton_model"], "Triton model")
    model = task.input_dir("export") / "triton" / name
    files = read_manifest(export.artifact.uri).below(f"triton/{name}")
    repository, deadline = task.settings.triton_repository, time.monotonic() + deploy.timeout_seconds
    num_steps = math.ceil(deploy.timeout_seconds / _TICK_SECONDS)
    with Triton(task.settings.triton_url) as triton, ExitStack() as undo:
        triton.check_live()
        report.progress(0, num_steps, f"installing {name}")
        undo.callback(remove, repository, name)
        undo.callback(triton.discard, name)
        install(model, files, repository)
        load_seconds = _load(triton, name, deadline, num_steps, report)
        report.progress(num_steps, num_steps, f"asking {name}")
        answer = _validate(triton, name, deploy, deadline)
        undo.pop_all()
    return StageResult(
        metrics={
            "load_seconds": load_seconds,
            "first_token_ms": 1000 * answer.first_token_seconds,
            "tokens_per_second": answer.num_completion_tokens / answer.seconds,
        },
        result={"triton_model": name, "url": task.settings.triton_url},
    )


def _check_configured(settings: WorkerSettings, exported: str) -> None:
    reason = settings.triton_unavailable_reason
    if not reason and not settings.triton_url:
        reason = "this worker knows no Triton; set its LUTHIER_TRITON_URL"
    if not reason and settings.triton_repository == Path():
        reason = "this worker does not know Triton's model repository; set its LUTHIER_TRITON_REPOSITORY"
    if reason:
        raise ConfigError(f"cannot deploy: {reason}. The model stays exported at {exported}")


def _load(triton: Triton, name: str, deadline: float, num_steps: int, report: Report) -> float:
    """Seconds that loading took. Triton tells nothing while it loads, so progress counts the seconds waited."""
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=1) as pool:
        loading = pool.submit(triton.load, name, max(1.0, deadline - started))
        for step in range(1, num_steps):
            if wait([loading], timeout=_TICK_SECONDS).done:
                break
            report.progress(step, num_steps, f"loading {name}")
        loading.result()
    return time.monotonic() - started


def _validate(triton: Triton, name: str, deploy: DeploySpec, deadline: float) -> Answer:
    request = InferenceRequest(
        messages=[{"role": "user", "content": deploy.validation_prompt}],
        max_new_tokens=min(_VALIDATION_TOKENS, deploy.max_new_tokens),
    )
    answer = triton.ask(name, request, max(1.0, deadline - time.monotonic()))
    if not answer.num_completion_tokens:
        raise ConfigError(
            f"{name} was loaded but ended its answer to deploy.validation_prompt ({deploy.validation_prompt!r}) at "
            f"once; give a prompt of the kind that it was trained on"
        )
    return answer
