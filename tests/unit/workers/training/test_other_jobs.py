"""A checkpoint of another job is refused with the weight that differs, and with what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from luthier.spec import LoraSpec
from tests.unit.workers.training.tiny_run import (
    KilledError,
    Killer,
    Recorder,
    make_base,
    make_documents,
    make_engine,
    make_model,
)
from workers.failures import ConfigError
from workers.training.methods.lora import add_lora


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            lambda: add_lora(make_base(), LoraSpec(r=8)),
            r"lora_A\.default\.weight is \[4, \d+\] there and \[8, \d+\] here",
        ),
        (lambda: make_model("full"), "weights are in one of them alone, such as base_model"),
        (
            lambda: add_lora(make_base(), LoraSpec(r=4, target_modules=["q_proj"])),
            r"24 trained weights are in one of them alone, such as .*\.down_proj\.lora_A",
        ),
    ],
    ids=["rank", "method", "targets"],
)
def test_it_is_refused(tmp_path: Path, other: Callable[[], nn.Module], words: str) -> None:
    report = Killer(4, saved=True)
    engine, _ = make_engine(tmp_path / "first", report)
    with pytest.raises(KilledError):
        engine.run()
    with pytest.raises(ConfigError, match=rf"of another job: .*{words}.*so submit a new job"):
        make_engine(tmp_path / "second", Recorder(), model=other(), earlier=report.checkpoints, fence=2)


@pytest.mark.parametrize(
    "other",
    [{"train": make_documents(39)}, {"seed": 6}, {"packing": False}, {"max_steps": 3}],
    ids=["rows", "seed", "packing", "length"],
)
def test_so_is_one_that_learned_from_other_rows(tmp_path: Path, other: dict[str, Any]) -> None:
    """Weights would fit, and the run would go on from rows that it has seen, or never come to its end."""
    report = Killer(4, saved=True)
    with pytest.raises(KilledError):
        make_engine(tmp_path / "first", report)[0].run()
    with pytest.raises(ConfigError, match=r"of another job: the rows of its step 4 are not .* submit a new job"):
        make_engine(tmp_path / "second", Recorder(), earlier=report.checkpoints, fence=2, **other)
