"""Step `toxicity`: rows with a toxic text are dropped or counted. Who judges is one module and one row in `_JUDGES`.

A judge that cannot judge fails the job: no text passes unseen.
"""

from collections.abc import Sequence
from importlib import import_module
from itertools import islice

from luthier.spec import DataSpec
from luthier.spec.data.toxicity import ToxicitySpec
from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Repair, Row
from workers.data.steps.toxicity.verdict import Judge
from workers.data.texts import texts_of

# "module:class"; the class is made of the section. Only the one that is needed is imported: torch takes seconds, and
# hundreds of megabytes in every process that reads rows.
_JUDGES: dict[str, str] = {
    "model": "workers.data.steps.toxicity.by_model:ModelJudge",
    "endpoint": "workers.data.steps.toxicity.by_endpoint:EndpointJudge",
    "words": "workers.data.steps.toxicity.by_words:WordsJudge",
}
"""By `classifier.type`."""


def build(spec: DataSpec) -> "Toxicity | None":
    """The step, or None where there is no `data.toxicity`.

    Raises:
        ConfigError: the judge cannot be had.
    """
    if spec.toxicity is None:
        return None
    module, _, name = _JUDGES[spec.toxicity.classifier.type].partition(":")
    judge: Judge = getattr(import_module(module), name)(spec.toxicity.classifier)
    return Toxicity(spec.toxicity, judge)


class Toxicity:
    """A `RowStep`."""

    def __init__(self, spec: ToxicitySpec, judge: Judge) -> None:
        self._threshold = spec.threshold
        self._drops = spec.action == "drop"
        self._judge = judge

    def __call__(self, rows: Sequence[Row]) -> None:
        """Has every text of every row judged.

        Raises:
            DependencyError: the judge does not answer.
        """
        texts = [texts_of(row) for row in rows]
        verdicts = iter(self._judge([text for own in texts for text in own]))
        for row, own in zip(rows, texts, strict=True):
            worst = max(islice(verdicts, len(own)), default=None)
            if worst is not None and worst.score >= self._threshold:
                detail = f"{worst.what}, score {worst.score:.2f}; data.toxicity.threshold is {self._threshold:g}"
                if self._drops:
                    row.error = RowError(problems.TOXIC, detail)
                else:
                    row.repairs.append(Repair("toxic text found", detail))
