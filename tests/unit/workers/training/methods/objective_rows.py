"""What test_pairings.py asks of every objective that a job file can name: its section, and rows that it learns from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from luthier.spec import ClassificationSpec, DistillationSpec, ObjectiveSpec, RewardSpec
from tests.unit.workers.training.methods.rows import VOCABULARY
from tests.unit.workers.training.objectives.preference_rows import make_labelled, make_pairs
from tests.unit.workers.training.tiny_run import as_samples, make_documents
from workers.training.classes import Classes
from workers.training.objectives import OBJECTIVES, Objective
from workers.training.objectives.distillation import Distillation
from workers.training.objectives.labels import classes_of
from workers.training.objectives.reward import CLASSES
from workers.training.objectives.teacher import Teacher
from workers.training.samples import Sample


@dataclass(frozen=True)
class Learned:
    """One objective."""

    section: Mapping[str, Any]
    """`objective` of the job file."""
    make_rows: Callable[[int, int], list[Sample]]
    """So many rows, by a seed."""

    @property
    def spec(self) -> ObjectiveSpec:
        """The section, checked."""
        spec: ObjectiveSpec = TypeAdapter(ObjectiveSpec).validate_python(self.section)
        return spec

    def make(self, teacher: Path, work_dir: Path) -> Objective:
        """A fresh objective; one that has a teacher asks the model in the folder `teacher`."""
        spec = self.spec
        if isinstance(spec, DistillationSpec):
            return Distillation(spec, Teacher(teacher, VOCABULARY), work_dir)
        return OBJECTIVES[spec.type](spec)

    def classes(self, rows: list[Sample]) -> Classes | None:
        """What its head scores, if it has one."""
        spec = self.spec
        if isinstance(spec, RewardSpec):
            return CLASSES
        return classes_of(spec, rows) if isinstance(spec, ClassificationSpec) else None


def _texts(num: int, seed: int) -> list[Sample]:
    return as_samples(make_documents(num, seed))


def _labelled_texts(num: int, seed: int) -> list[Sample]:
    return [replace(sample, label="abc"[sample.number % 3]) for sample in _texts(num, seed)]


def _texts_with_several_labels(num: int, seed: int) -> list[Sample]:
    """With none to three."""
    return [replace(sample, labels=tuple("abc"[: sample.number % 4])) for sample in _texts(num, seed)]


LEARNED: dict[str, Learned] = {
    "sft": Learned({"type": "sft"}, _texts),
    "pretrain": Learned({"type": "pretrain"}, _texts),
    "classification": Learned({"type": "classification", "class_weights": "balanced"}, _labelled_texts),
    "multi-label": Learned(
        {"type": "classification", "multi_label": True, "class_weights": "balanced"}, _texts_with_several_labels
    ),
    "dpo": Learned({"type": "dpo"}, make_pairs),
    "ipo": Learned({"type": "ipo"}, make_pairs),
    "kto": Learned({"type": "kto"}, make_labelled),
    "orpo": Learned({"type": "orpo"}, make_pairs),
    "simpo": Learned({"type": "simpo"}, make_pairs),
    "reward": Learned({"type": "reward", "center_rewards_coefficient": 0.1}, make_pairs),
    "distillation": Learned({"type": "distillation", "teacher": "larger", "top_k": 8}, _texts),
}
