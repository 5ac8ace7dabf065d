"""Which tokens of a row are trained on, by what the job is to learn."""

from typing import Literal

from luthier.spec import (
    ClassificationSpec,
    DistillationSpec,
    DpoSpec,
    IpoSpec,
    KtoSpec,
    ObjectiveSpec,
    OrpoSpec,
    PretrainSpec,
    RewardSpec,
    SftSpec,
    SimpoSpec,
)

Targets = Literal["answers", "last_answer", "everything", "nothing"]
"""Of a conversation every answer of the assistant, or the last one alone; or all of the rendered text, or none of it,
where something else than tokens is predicted. A row of plain text is trained on as a whole, but for `nothing`."""


def targets_of(objective: ObjectiveSpec) -> Targets:
    """What the rows of such a job are encoded for."""
    match objective:
        case SftSpec(train_on="last"):
            return "last_answer"
        case DpoSpec() | IpoSpec() | KtoSpec() | OrpoSpec() | SimpoSpec() | RewardSpec():
            return "last_answer"
        case DistillationSpec(level="sequence"):
            return "last_answer"
        case PretrainSpec():
            return "everything"
        case ClassificationSpec():
            return "nothing"
        case _:
            return "answers"
