"""What counts as agreement, on observations made by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trl

from luthier.spec import ParitySpec
from workers.data.dataset import Example
from workers.data.row import Message
from workers.export.parity import Observation, chat_side, compare_sides, observe, plain_side, refusal
from workers.export.triton_backend import generation
from workers.models import load_model, load_tokenizer
from workers.models.template import with_chat_template

EXAMPLES = [Example(row, "f.jsonl", np.array([1], np.int32), np.array([True]), None) for row in (1, 2)]


def _observation(
    *answers: list[int],
    choices: list[list[int]] | None = None,
    logits: float = 0.0,
    prompts: list[list[int]] | None = None,
) -> Observation:
    first = torch.tensor([[0.0, 1.0], [2.0, logits]])
    return Observation(prompts or [[1], [2]], list(answers), choices or list(answers), first)


def test_every_position_of_the_trained_models_answer_counts_for_itself() -> None:
    trained = _observation([5, 6, 7, 8], [9])
    exported = _observation([5, 0, 1], [9], choices=[[5, 0, 7, 8], [9]])
    parity = compare_sides("merged", EXAMPLES, trained, exported)
    assert [(row.num_agreeing, row.num_tokens) for row in parity.prompts] == [(3, 4), (1, 1)]
    assert parity.greedy_agreement == pytest.approx(4 / 5)
    assert [row.is_identical for row in parity.prompts] == [False, True]
    assert parity.num_identical == 1


@pytest.mark.parametrize(("ours", "theirs"), [([5, 6], [5, 6, 7]), ([5, 6, 7], [5, 6])])
def test_an_answer_that_ends_elsewhere_is_another_answer(ours: list[int], theirs: list[int]) -> None:
    exported = _observation(theirs, [9], choices=[ours, [9]])
    parity = compare_sides("merged", EXAMPLES, _observation(ours, [9]), exported)
    assert parity.greedy_agreement == 1.0
    assert parity.num_identical == 1


def test_a_model_that_follows_its_own_answers_agrees_with_itself(tiny_model_dir: Path) -> None:
    side = plain_side(load_model(tiny_model_dir, torch.float32), load_tokenizer(tiny_model_dir), max_new_tokens=12)
    turns = [[{"role": "user", "content": text}, {"role": "assistant", "content": "?"}] for text in ("hello", "a b c")]
    examples = [Example(1, "f.jsonl", np.array([1], np.int32), np.array([True]), messages) for messages in turns]
    own = observe(side, examples, lambda rows: None)
    assert own.choices == own.answers
    assert [len(prompt) for prompt in own.prompts] != [len(own.prompts[0])] * 2, "padding is part of the test"
    other = observe(side, examples, lambda rows: None, follow=[[7, 8, 9], [3]])
    assert [len(choices) for choices in other.choices] == [3, 1]
    assert [choices[0] for choices in other.choices] == [answer[0] for answer in own.answers]
    assert torch.allclose(own.logits, other.logits, atol=1e-4)


@pytest.mark.parametrize("template", ["qwen2_5", "deepseekv3"])
def test_tools_are_rendered_alike_by_both_sides(tiny_model_dir: Path, tmp_path: Path, template: str) -> None:
    text = (Path(trl.__file__).parent / "chat_templates" / f"{template}.jinja").read_text()
    folder = with_chat_template(tiny_model_dir, text, tmp_path / "models")
    for code in Path(generation.__file__).parent.glob("*.py"):
        shutil.copy(code, tmp_path)
    (tmp_path / "weights").symlink_to(folder)
    call = {"type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages: list[Message] = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ]
    tools = json.dumps([{"type": "function", "function": {"name": "get_weather", "parameters": {}}}])
    example = Example(1, "f.jsonl", np.array([1], np.int32), np.array([True]), messages, tools=tools)
    ours = plain_side(load_model(folder, torch.float32), load_tokenizer(folder), 4).render(example)
    theirs = chat_side(tmp_path, torch.device("cpu"), 4).render(example)
    assert ours == theirs
    assert "Paris" in load_tokenizer(folder).decode(ours)


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
