"""The graph that a job file becomes."""

import json

import pytest

from luthier.spec import JobSpec, parse_spec
from luthier.spec.plan import plan


def spec(**changes: object) -> JobSpec:
    return parse_spec(json.dumps({"name": "t", "base_model": "tiny", "data": {"path": "/d.jsonl"}} | changes))


@pytest.mark.parametrize("changes", [{}, {"deploy": {}}])
def test_stages_stand_after_those_that_they_need(changes: dict[str, object]) -> None:
    stages = plan(spec(**changes))
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names)
    for position, stage in enumerate(stages):
        assert set(stage.needs) <= set(names[:position])


def test_deploy_is_planned_only_when_the_job_asks_for_it() -> None:
    assert [stage.kind for stage in plan(spec())] == ["preprocess", "train", "evaluate", "export"]
    assert plan(spec(deploy={}))[-1].kind == "deploy"


def test_a_teacher_answers_between_the_data_and_the_training() -> None:
    teacher = {"type": "distillation", "teacher": "org/big"}
    stages = {stage.name: stage for stage in plan(spec(objective={**teacher, "level": "sequence"}))}
    assert list(stages) == ["preprocess", "teach", "train", "evaluate", "export"]
    assert stages["train"].needs == ("preprocess", "teach")
    assert "teach" not in {stage.name for stage in plan(spec(objective=teacher))}
    on_gpu = spec(objective={**teacher, "level": "sequence"}, resources={"worker_class": "gpu"})
    assert {stage.name: stage.worker_class for stage in plan(on_gpu)}["teach"] == "gpu"


def test_only_stages_that_compute_with_the_model_go_to_the_job_s_workers() -> None:
    stages = plan(spec(deploy={}, resources={"worker_class": "gpu"}))
    assert {stage.name: stage.worker_class for stage in stages} == {
        "preprocess": "cpu",
        "train": "gpu",
        "evaluate": "gpu",
        "export": "gpu",
        "deploy": "cpu",
    }
