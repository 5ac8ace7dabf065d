"""Batched greedy answers and likelihoods are those of one prompt alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from workers.data.dataset import Example
from workers.evaluation.batches import batches
from workers.evaluation.generate import Decoding, greedy_answers
from workers.evaluation.likelihood import negative_log_likelihoods
from workers.models import load_model, load_tokenizer


@pytest.fixture(scope="module")
def tiny(tiny_model_dir: Path) -> tuple:
    return load_model(tiny_model_dir, torch.float32), load_tokenizer(tiny_model_dir)


def _prompts(tokenizer: object) -> list[list[int]]:
    return [tokenizer.encode(text) for text in ("hello", "the quick brown fox 1 2 3", "world " * 9, "a")]


def test_answers_of_a_batch_are_those_of_transformers_one_by_one(tiny: tuple) -> None:
    model, tokenizer = tiny
    prompts = _prompts(tokenizer)
    answers = greedy_answers(model, prompts, Decoding(frozenset(), 0, 12), lambda rows: None)
    for prompt, answer in zip(prompts, answers, strict=True):
        expected = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=-1)
        assert answer == expected[0, len(prompt) :].tolist()


def test_an_answer_ends_with_its_first_stop_token(tiny: tuple) -> None:
    model, tokenizer = tiny
    prompts = _prompts(tokenizer)
    free = greedy_answers(model, prompts, Decoding(frozenset(), 0, 12), lambda rows: None)
    stop = free[0][3]
    for answer, whole in zip(
        greedy_answers(model, prompts, Decoding(frozenset({stop}), 0, 12), lambda rows: None), free, strict=True
    ):
        assert answer == (whole[: whole.index(stop) + 1] if stop in whole else whole)


def test_stop_tokens_come_from_model_and_tokenizer(tiny: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny
    monkeypatch.setattr(model.generation_config, "eos_token_id", [7, 9])
    assert Decoding.of(model, tokenizer, 5).stop_ids == {7, 9, tokenizer.eos_token_id}


def test_likelihoods_of_a_batch_are_those_of_each_row(tiny: tuple) -> None:
    model, tokenizer = tiny
    examples = []
    for number, prompt in enumerate(_prompts(tokenizer)):
        trainable = np.arange(len(prompt)) % 3 != number % 3
        examples.append(Example(number, "f", np.array(prompt, np.int32), trainable, None))
    results = negative_log_likelihoods(model, examples, 0, lambda rows: None)
    for example, (nll, num_tokens) in zip(examples, results, strict=True):
        input_ids = torch.tensor(example.input_ids.tolist())
        with torch.inference_mode():
            losses = -torch.log_softmax(model(input_ids[None]).logits[0], -1)[:-1].gather(1, input_ids[1:, None])[:, 0]
        assert nll == pytest.approx(float(losses[torch.tensor(example.trainable[1:])].sum()), abs=1e-3)
        assert num_tokens == example.trainable[1:].sum()


def test_batches_hold_every_row_once_within_the_budget() -> None:
    lengths = [5, 900, 40, 41, 3000, 7] + [10] * 200
    found = list(batches(lengths, 1000))
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    assert found[0] == [4]
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 1000 for batch in found)
