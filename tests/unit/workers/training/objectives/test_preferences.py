"""What holds for every objective over preferences: which way it pulls, and what must not matter to it."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.spec import DpoSpec, IpoSpec, KtoSpec, OrpoSpec, SimpoSpec
from tests.unit.workers.training.objectives.preference_rows import (
    make_labelled,
    make_pairs,
    mean_loss,
    one_by_one,
    started_and_moved,
)
from tests.unit.workers.training.tiny_run import (
    KilledError,
    Killer,
    Outcome,
    Recorder,
    make_documents,
    make_engine,
    make_model,
)
from workers.data.row import DESIRABLE
from workers.failures import DataError, PreemptedError
from workers.training.forward import document_log_probs
from workers.training.objectives import OBJECTIVES, Objective
from workers.training.packing import batch_of
from workers.training.samples import Sample

SPECS = [
    DpoSpec(type="dpo", label_smoothing=0.1),
    IpoSpec(type="ipo"),
    KtoSpec(type="kto"),
    OrpoSpec(type="orpo"),
    SimpoSpec(type="simpo"),
]
FIGURES = {"rewards/chosen", "rewards/rejected", "rewards/margins"}
SETTINGS = {"pack_length": 64, "learning_rate": 5e-3, "num_train_epochs": 2.0, "eval_steps": 3, "save_steps": 2}


@pytest.fixture(params=SPECS, ids=[spec.type for spec in SPECS])
def make_objective(request: pytest.FixtureRequest) -> Callable[[], Objective]:
    """A function that makes a fresh objective, one type after the other."""
    return lambda: OBJECTIVES[request.param.type](request.param)


@pytest.fixture
def make_rows(request: pytest.FixtureRequest, make_objective: Callable[[], Objective]) -> Callable[..., list[Sample]]:
    """A function that makes rows for it."""
    try:
        make_objective().check(make_pairs(2), [])
    except DataError:
        return make_labelled
    return make_pairs


def test_the_chosen_answers_gain_on_the_rejected_ones(
    make_objective: Callable[[], Objective], make_rows: Callable[..., list[Sample]]
) -> None:
    """One step against the gradient, from where training starts."""
    objective, rows = make_objective(), make_rows(8)
    model = make_model("full").eval()
    objective.prepare(model, rows, one_by_one, torch.float32)
    before = _mean_log_probs(model, rows)
    mean_loss(objective, model, rows, [rows]).backward()
    with torch.no_grad():
        for weight in model.parameters():
            weight -= 1e-3 * weight.grad
    chosen, rejected = (after - then for after, then in zip(_mean_log_probs(model, rows), before, strict=True))
    assert chosen > rejected
    if len(rows[0].documents) == 1:
        assert chosen > 0 > rejected, "of these nothing is taught but up and down"


def _mean_log_probs(model: torch.nn.Module, rows: list[Sample]) -> tuple[float, float]:
    """Per token, of good answers and of bad ones."""
    good: list[float] = []
    bad: list[float] = []
    for row in rows:
        log_probs = document_log_probs(model, batch_of([row]), torch.float32).tolist()
        lengths = [int(document.trainable.sum()) for document in row.documents]
        means = [value / length for value, length in zip(log_probs, lengths, strict=True)]
        kinds = [good, bad] if len(means) == 2 else [good if row.label == DESIRABLE else bad]
        for kind, mean in zip(kinds, means, strict=True):
            kind.append(mean)
    return sum(good) / len(good), sum(bad) / len(bad)


def test_how_rows_are_packed_does_not_matter(
    make_objective: Callable[[], Objective], make_rows: Callable[..., list[Sample]]
) -> None:
    started, moved = started_and_moved()
    objective, rows = make_objective(), make_rows(7)
    model = copy.deepcopy(started)
    objective.prepare(model, rows, one_by_one, torch.float32)
    model.load_state_dict(moved.state_dict())
    losses = [
        mean_loss(objective, model, rows, parts).item()
        for parts in ([[row] for row in rows], [rows], [rows[4:], rows[:4]], [rows[::-1]])
    ]
    assert losses == pytest.approx([losses[0]] * len(losses), abs=1e-5)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize(("name", "make"), [("dpo", make_pairs), ("kto", make_labelled)])
def test_a_resumed_run_is_the_run_that_was_not_interrupted(
    tmp_path: Path, name: str, make: Callable[..., list[Sample]], method: str
) -> None:
    """The reference is that of the first attempt, although the second one has a checkpoint's weights."""

    def start(folder: str, report: Recorder, **arguments: Any) -> Outcome:
        (spec,) = (spec for spec in SPECS if spec.type == name)
        rows = {"train": make(24), "validation": make(5, seed=3)}
        model = make_model(method, dropout=0.2)
        settings = {**SETTINGS, **rows, **arguments}
        return Outcome.of(
            *make_engine(tmp_path / folder, report, model=model, objective=OBJECTIVES[name](spec), **settings)
        )

    whole = start("whole", Recorder())
    assert len(whole.rows) >= 6
    killer = Killer(5, saved=False)
    with pytest.raises(KilledError):
        start("first", killer)
    torch.rand(17)  # a new process would not find the generator where the old one left it
    assert start("second", Recorder(), earlier=killer.checkpoints, fence=2) == whole


def test_a_halved_pass_gives_the_same_losses_and_figures(
    tmp_path: Path, make_objective: Callable[[], Objective], make_rows: Callable[..., list[Sample]]
) -> None:
    def rows(refit: int) -> list[dict[str, float]]:
        report = Recorder()
        engine, _ = make_engine(
            tmp_path / str(refit),
            report,
            model=make_model(dropout=0.0),
            objective=make_objective(),
            train=make_rows(24),
            validation=make_rows(5, seed=3),
            refit=refit,
            **SETTINGS | {"max_steps": 4, "pack_length": 128},
        )
        return engine.run().history

    whole, halved = rows(0), rows(2)
    assert set(whole[0]) >= FIGURES
    assert set(whole[2]) >= {f"validation_{name}" for name in FIGURES}
    for one, other in zip(whole, halved, strict=True):
        names = [name for name in one if name != "tokens_per_second"]
        assert [other[name] for name in names] == pytest.approx([one[name] for name in names], rel=1e-3, abs=1e-4)


def test_a_run_learns_to_prefer(
    tmp_path: Path, make_objective: Callable[[], Objective], make_rows: Callable[..., list[Sample]]
) -> None:
    engine, _ = make_engine(
        tmp_path,
        Recorder(),
        model=make_model(dropout=0.0),
        objective=make_objective(),
        train=make_rows(16),
        validation=[],
        **SETTINGS | {"num_train_epochs": 10.0, "learning_rate": 0.02},
    )
    first, *_, last = engine.run().history
    assert last["loss"] < first["loss"]
    assert last["rewards/margins"] > first["rewards/margins"]
    assert last.get("rewards/accuracies", 1.0) >= 0.9


def test_at_the_start_nothing_is_preferred(tmp_path: Path) -> None:
    """DPO's margins are zero then, so the loss is log 2, to the last bit of what adapters add: nothing."""
    objective = OBJECTIVES["dpo"](DpoSpec(type="dpo"))
    report = Recorder()
    engine, _ = make_engine(
        tmp_path,
        report,
        objective=objective,
        model=make_model(dropout=0.0),
        train=make_pairs(9),
        validation=[],
        **SETTINGS | {"max_steps": 1},
    )
    (row,) = engine.run().history
    assert row["loss"] == pytest.approx(0.693147, abs=1e-6)
    assert (row["rewards/accuracies"], row["rewards/margins"]) == (0.0, pytest.approx(0.0, abs=1e-5))


def test_rows_of_another_kind_are_refused(tmp_path: Path, make_objective: Callable[[], Objective]) -> None:
    with pytest.raises(DataError, match=r"give rows with prompt, (chosen and rejected|completion and label)"):
        make_engine(tmp_path, Recorder(), objective=make_objective(), train=make_documents(3))


def test_an_answer_that_is_certain_has_a_finite_gradient() -> None:
    """Of ORPO, whose odds would be infinite."""
    from workers.training.objectives.orpo import score
    from workers.training.objectives.pairs import PairLogProbs

    chosen = torch.tensor([0.0, -1e-9, -3.0], requires_grad=True)
    zero, one = torch.zeros(3), torch.ones(3)
    score(PairLogProbs(chosen, zero - 2.0, zero, zero, one, one), beta=0.1).losses.sum().backward()
    assert chosen.grad is not None
    assert chosen.grad.isfinite().all()


def test_asked_to_stop_while_the_reference_is_computed_it_leaves_nothing(tmp_path: Path) -> None:
    report = Recorder(stop=lambda num_questions: num_questions == 2)
    rows = {"train": make_pairs(24), "validation": []}
    with pytest.raises(PreemptedError):
        make_engine(tmp_path, report, objective=OBJECTIVES["dpo"](SPECS[0]), **rows, **SETTINGS)
    assert report.checkpoints == []
    assert not report.rows


def test_only_rows_that_the_run_sees_have_a_reference(tmp_path: Path) -> None:
    passes: list[int] = []

    class Counting(Recorder):
        def should_stop(self) -> bool:
            passes.append(1)
            return False

    def num_questions(max_steps: int) -> int:
        passes.clear()
        settings = {**SETTINGS, "max_steps": max_steps, "order": "as_given"}
        objective = OBJECTIVES["dpo"](SPECS[0])
        rows = {"train": make_pairs(40), "validation": []}
        make_engine(tmp_path / str(max_steps), Counting(), objective=objective, **rows, **settings)
        return len(passes)

    assert num_questions(1) < num_questions(50) / 3
