"""Training on a teacher's answers needs what fine-tuning needs; training on its probabilities needs more."""

from pathlib import Path
from typing import Any

from luthier.planning.configs import find_teacher
from luthier.planning.hardware import load_hardware
from luthier.planning.job_plan import plan_job
from luthier.planning.workload import DataFigures
from luthier.spec import JobSpec
from tests.unit.luthier.planning.test_shape import SMALL

DATA = DataFigures(num_rows=10_000, num_tokens=4_000_000, num_targets=2_000_000, longest=1000, source="a test")
TEACHER = {"type": "distillation", "teacher": "org/big"}


def _peak(objective: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
    document = {"name": "job", "base_model": "/base", "data": {"path": "/rows.jsonl"}, "objective": objective}
    spec = JobSpec.model_validate(document)
    assert find_teacher(spec, Path("/nowhere")) is None
    plan = plan_job(spec, SMALL | {"model_type": "llama"}, DATA, load_hardware())
    return plan.asked[0].memory.peak_bytes, tuple(plan.notes)


def test_the_answers_of_a_teacher_cost_the_training_nothing() -> None:
    plain, _ = _peak({"type": "sft"})
    taught, notes = _peak({**TEACHER, "level": "sequence"})
    assert taught == plain
    assert any("the stage teach" in note for note in notes)
    distilled, notes = _peak(TEACHER)
    assert distilled > plain
    assert any("the memory of the teacher" in note for note in notes)
