"""What counts as agreement, on observations made by hand."""

import numpy as np
import pytest
import torch

from luthier.spec import ParitySpec
from workers.data.dataset import Example
from workers.export.parity import Observation, compare_sides, refusal

EXAMPLES = [Example(row, "f.jsonl", np.array([1], np.int32), np.array([True]), None) for row in (1, 2)]


def _observation(*answers: list[int], logits: float = 0.0, prompts: list[list[int]] | None = None) -> Observation:
    return Observation(prompts or [[1], [2]], list(answers), torch.tensor([[0.0, 1.0], [2.0, logits]]))


def test_tokens_after_the_first_difference_do_not_count() -> None:
    trained, exported = _observation([5, 6, 7, 8], [9]), _observation([5, 0, 7, 8], [9])
    parity = compare_sides("merged", EXAMPLES, trained, exported)
    assert [row.num_agreeing for row in parity.prompts] == [1, 1]
    assert parity.greedy_agreement == pytest.approx(2 / 5)
    assert parity.num_identical == 1


@pytest.mark.parametrize(("ours", "theirs"), [([5, 6], [5, 6, 7]), ([5, 6, 7], [5, 6])])
def test_an_answer_that_ends_elsewhere_is_another_answer(ours: list[int], theirs: list[int]) -> None:
    parity = compare_sides("merged", EXAMPLES, _observation(ours, [9]), _observation(theirs, [9]))
    assert parity.prompts[0].num_agreeing == 2
    assert parity.prompts[0].num_tokens == 3
    assert parity.num_identical == 1


def test_the_largest_logit_difference_is_found() -> None:
    parity = compare_sides("merged", EXAMPLES, _observation([1], [2]), _observation([1], [2], logits=-0.75))
    assert parity.max_logit_difference == 0.75
    assert [row.max_logit_difference for row in parity.prompts] == [0.0, 0.75]


def test_agreement_at_the_tolerance_passes_and_below_does_not() -> None:
    trained, exported = _observation([1, 2, 3, 4], [9]), _observation([1, 2, 3, 0], [9])
    parity = compare_sides("merged", EXAMPLES, trained, exported)
    assert refusal(parity, ParitySpec(min_greedy_agreement=0.8), "bfloat16") == ""
    assert "export.dtype: float32" in refusal(parity, ParitySpec(min_greedy_agreement=0.81), "bfloat16")
    assert "export.dtype" not in refusal(parity, ParitySpec(min_greedy_agreement=0.81), "float32")


def test_prompts_rendered_differently_never_pass() -> None:
    other = _observation([1], [2], prompts=[[1], [3]])
    parity = compare_sides("triton", EXAMPLES, _observation([1], [2]), other)
    assert "f.jsonl, row 2" in refusal(parity, ParitySpec(min_greedy_agreement=0.0), "float32")
