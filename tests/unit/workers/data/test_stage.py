"""The stage kind and the command that reports on a local file."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.settings import WorkerSettings
from luthier.spec import ClassificationSpec, DataSpec, GrpoSpec, JobSpec, LoraSpec
from luthier.v1.stage_pb2 import Stage
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.data.dataset import load_split
from workers.data.report import load_report
from workers.data.stage import run as run_stage
from workers.failures import ConfigError, DataError
from workers.models import load_tokenizer
from workers.task import Task

ROWS = [{"prompt": f"hello {i}", "completion": f"world {i}"} for i in range(20)]


def _task(tmp_path: Path, model: Path, data: DataSpec, roots: str, **spec: Any) -> Task:
    work = tmp_path / "work"
    work.mkdir()
    return Task(
        assignment=StageAssignment(stage=Stage(stage_id="stg_1", name="preprocess", kind="preprocess", attempt=1)),
        spec=JobSpec(name="job", base_model=str(model), data=data, **spec),
        settings=WorkerSettings(data_roots=roots, model_cache=tmp_path / "models"),
        work_dir=work,
    )


def test_stage_leaves_the_dataset_and_says_how_big_it_is(
    tmp_path: Path, tiny_model_dir: Path, write_rows: Callable[..., Path], recorder: Any
) -> None:
    path = write_rows([*ROWS, ROWS[0]])
    task = _task(tmp_path, tiny_model_dir, DataSpec(path=str(path)), f"{tmp_path},{tiny_model_dir}")
    result = run_stage(task, recorder)
    assert result.folder is not None
    assert sorted(file.name for file in result.folder.iterdir()) == [
        "lengths.svg",
        "report.html",
        "report.json",
        "report.md",
        "test.arrow",
        "train.arrow",
        "validation.arrow",
    ]
    trained = sum(int(example.trainable.sum()) for example in load_split(result.folder, "train"))
    assert result.result["num_rows"] == {"train": 16, "validation": 2, "test": 2}
    assert result.result["num_trainable_tokens"] == trained == result.metrics["num_trainable_tokens"]
    assert result.result["num_dropped"] == {"duplicate": 1}
    json.dumps(result.result, allow_nan=False)
    assert [folder.name for folder in task.work_dir.iterdir()] == ["output"]


def test_of_a_classifier_the_metrics_say_how_many_labels_are_learned(
    tmp_path: Path, tiny_model_dir: Path, write_rows: Callable[..., Path], recorder: Any
) -> None:
    path = write_rows([{"text": f"hello {i}", "label": "ab"[i % 2]} for i in range(20)])
    task = _task(
        tmp_path,
        tiny_model_dir,
        DataSpec(path=str(path)),
        f"{tmp_path},{tiny_model_dir}",
        objective=ClassificationSpec(type="classification"),
    )
    result = run_stage(task, recorder)
    assert result.folder is not None
    trained = {
        "num_labelled_rows": 16,
        "num_attended_tokens": sum(len(example.input_ids) for example in load_split(result.folder, "train")),
    }
    assert result.metrics == {"num_train_rows": 16, "num_dropped_rows": 0, **trained}
    assert {name: result.result[name] for name in trained} == trained
    assert "num_trainable_tokens" not in result.result


def test_tokens_that_the_job_adds_are_single_ids(
    tmp_path: Path, tiny_model_dir: Path, write_rows: Callable[..., Path], recorder: Any
) -> None:
    path = write_rows([{"prompt": f"hello {i}<urgent>", "completion": f"world {i}"} for i in range(20)])
    method = LoraSpec(added_tokens=["<ticket>", "<urgent>"])
    task = _task(tmp_path, tiny_model_dir, DataSpec(path=str(path)), f"{tmp_path},{tiny_model_dir}", method=method)
    folder = run_stage(task, recorder).folder
    assert folder is not None
    new = len(load_tokenizer(tiny_model_dir)) + 1
    assert all((example.input_ids == new).sum() == 1 for example in load_split(folder, "train"))


def test_the_template_of_the_job_is_what_rows_are_written_in(
    tmp_path: Path, tiny_model_dir: Path, write_rows: Callable[..., Path], recorder: Any
) -> None:
    template = (
        "{% for m in messages %}{{ m.role }} says {{ m.content }}\n{% endfor %}"
        "{{ 'assistant says ' if add_generation_prompt }}"
    )
    data = DataSpec(path=str(write_rows(ROWS)), chat_template=template)
    folder = run_stage(_task(tmp_path, tiny_model_dir, data, f"{tmp_path},{tiny_model_dir}"), recorder).folder
    assert folder is not None
    example = load_split(folder, "train")[0]
    text = load_tokenizer(tiny_model_dir).decode(example.input_ids)
    assert text == f"user says {example.prompt[0]['content']}\nassistant says {example.reference}\n<|im_end|>"


@pytest.mark.parametrize("column", ["solution", "completion"])
def test_prompts_without_answers_cannot_be_evaluated(
    tmp_path: Path, tiny_model_dir: Path, write_rows: Callable[..., Path], recorder: Any, column: str
) -> None:
    path = write_rows([{"prompt": f"hello {i}", column: f"world {i}"} for i in range(20)])
    objective = GrpoSpec.model_validate({"type": "grpo", "rewards": [{"type": "exact_match"}]})
    training = {"per_device_train_batch_size": 8, "packing": False}
    task = _task(
        tmp_path,
        tiny_model_dir,
        DataSpec(path=str(path)),
        f"{tmp_path},{tiny_model_dir}",
        objective=objective,
        training=training,
    )
    if column == "completion":
        assert run_stage(task, recorder).result["num_rows"]["test"] == 2
        return
    with pytest.raises(DataError, match=r"no held-out row has an answer.*data\.columns which column has the answer"):
        run_stage(task, recorder)


def test_stage_reads_only_where_the_worker_may(
    tmp_path: Path, tiny_model_dir: Path, write_rows: Callable[..., Path], recorder: Any
) -> None:
    path = write_rows(ROWS)
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "rows.jsonl").symlink_to(path)
    task = _task(tmp_path, tiny_model_dir, DataSpec(path=str(allowed)), f"{allowed},{tiny_model_dir}")
    with pytest.raises(ConfigError, match=r"data\.path .*rows\.jsonl.* is outside the places"):
        run_stage(task, recorder)


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workers.data", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_command_prints_the_report_of_a_file(
    tmp_path: Path, tiny_model_dir: Path, write_rows: Callable[..., Path]
) -> None:
    output = tmp_path / "report"
    done = _command(str(write_rows(ROWS)), "--base-model", str(tiny_model_dir), "--output", str(output))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == load_report(output)
    assert json.loads(done.stdout)["num_rows_read"] == 20


def test_command_reads_a_job_file_and_tells_what_is_wrong(tmp_path: Path, tiny_model_dir: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b", "completion": "c"}\n')
    job = tmp_path / "job.yaml"
    job.write_text(f"name: job\nbase_model: {tiny_model_dir}\ndata:\n  path: rows.jsonl\n")
    done = _command(str(job), "--output", str(tmp_path / "report"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "rows.jsonl line 1: wrong columns: no completion" in done.stderr
    assert "Traceback" not in done.stderr
