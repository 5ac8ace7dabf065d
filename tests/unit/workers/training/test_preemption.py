"""Asked to stop, a run leaves within one forward pass, wherever it is, and what goes on from there is the same run."""

import threading
from pathlib import Path
from typing import Any

import pytest

from luthier.artifacts import ArtifactRef
from tests.unit.workers.training.tiny_run import Outcome, Recorder, make_documents, make_engine
from workers.failures import PreemptedError
from workers.training.draft import Draft

SPEC: dict[str, Any] = {"max_steps": 6, "gradient_accumulation_steps": 3, "eval_steps": 2, "save_steps": 3}
VALIDATION = make_documents(20, seed=9)
NUM_PASSES = 4 * 3 + 2 * 2 + 3 * 5
"""Forward passes of the whole run: six steps, of which two end an epoch, and three validations of five batches."""


def start(folder: Path, report: Recorder, **arguments: Any) -> Outcome:
    return Outcome.of(*make_engine(folder, report, validation=VALIDATION, **SPEC, **arguments))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The run that nobody interrupts."""
    report = Recorder()
    outcome = start(tmp_path_factory.mktemp("straight"), report)
    assert report.num_questions == NUM_PASSES, "it asks before every forward pass"
    return outcome


@pytest.mark.parametrize("asked_at", range(1, NUM_PASSES + 1))
def test_stopped_before_any_forward_pass_it_goes_on_bit_equal(tmp_path: Path, straight: Outcome, asked_at: int) -> None:
    first = Recorder(lambda num_questions: num_questions == asked_at)
    with pytest.raises(PreemptedError):
        start(tmp_path / "first", first)
    assert first.num_questions == asked_at
    assert start(tmp_path / "second", Recorder(), earlier=first.checkpoints, fence=2) == straight


@pytest.mark.parametrize("patience", [5, 8])
def test_stopped_again_and_again_it_arrives(tmp_path: Path, straight: Outcome, patience: int) -> None:
    """Each attempt gets a few forward passes, so that it is stopped in steps, validations and between them."""
    earlier: list[Any] = []
    for fence in range(1, 30):
        report = Recorder(lambda num_questions: num_questions > patience)
        try:
            outcome = start(tmp_path / str(fence), report, earlier=earlier, fence=fence)
        except PreemptedError:
            earlier = report.checkpoints + earlier
        else:
            assert outcome == straight
            assert fence > 3
            return
    raise AssertionError("it never arrived")


def test_before_the_first_step_there_is_nothing_to_keep(tmp_path: Path) -> None:
    report = Recorder(lambda num_questions: num_questions == 2)
    with pytest.raises(PreemptedError, match="from step 0"):
        start(tmp_path, report)
    assert report.checkpoints == []
    assert not (tmp_path / "checkpoints").exists()


def test_what_an_earlier_attempt_saved_is_not_saved_again(tmp_path: Path) -> None:
    first = Recorder(lambda num_questions: num_questions == 5)
    with pytest.raises(PreemptedError, match="from step 1"):
        start(tmp_path / "first", first)
    second = Recorder(lambda _: True)
    with pytest.raises(PreemptedError, match="from step 1"):
        start(tmp_path / "second", second, earlier=first.checkpoints, fence=2)
    assert second.checkpoints == []


def test_during_a_save_it_waits_for_the_commit(
    tmp_path: Path, straight: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, commit = threading.Event(), threading.Event(), Draft.commit

    def slow(*arguments: Any, **options: Any) -> ArtifactRef:
        begun.set()
        assert go_on.wait(60)
        return commit(*arguments, **options)

    def stop(_: int) -> bool:
        """Asked to stop while the first checkpoint is being written, which takes until then."""
        if not any("checkpoint_stall_seconds" in row for row in first.rows.values()):
            return False
        assert begun.wait(60)
        go_on.set()
        return True

    monkeypatch.setattr(Draft, "commit", slow)
    first = Recorder(stop)
    with pytest.raises(PreemptedError):
        start(tmp_path / "first", first)
    assert [checkpoint.step for checkpoint in first.checkpoints] == [2]
    assert start(tmp_path / "second", Recorder(), earlier=first.checkpoints, fence=2) == straight
