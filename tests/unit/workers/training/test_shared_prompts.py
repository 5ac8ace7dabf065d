"""The answers of a sample share their prompt: it is computed once, and nothing else changes by it."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from tests.unit.workers.training.objectives.preference_rows import answer
from workers.failures import ConfigError
from workers.training.attention import register
from workers.training.beginnings import sample_beginnings
from workers.training.forward import document_log_probs
from workers.training.kernels import grouped
from workers.training.layout import behind_shared_tokens, layout
from workers.training.packing import batch_of, own_lengths
from workers.training.samples import Sample

CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
SYSTEM = list(range(20, 32))


def _sample(number, prompt, *answers):
    return Sample(number, tuple(answer(prompt, words) for words in answers))


def _words(rng, length):
    return rng.integers(3, 60, length).tolist()


def _samples(prefix):
    """Prompts of all kinds: short, long, too short to share; answers of one length class and of others; three answers;
    answers that begin alike; a single one."""
    rng = np.random.default_rng(0)
    kinds = [(9, (5, 5)), (40, (3, 90)), (90, (70, 2)), (2, (8, 4)), (20, (1, 1)), (17, (6, 30, 6)), (25, (10,))]
    samples = [
        _sample(number, prefix + _words(rng, prompt), *(_words(rng, length) for length in lengths))
        for number, (prompt, lengths) in enumerate(kinds)
    ]
    return [*samples, _sample(len(samples), prefix + _words(rng, 10), [7, 8, 9], [7, 8, 10])]


def _model():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, initializer_range=0.3, attn_implementation=register())).eval()


def test_a_prompt_stands_once_and_every_answer_continues_it():
    prompt = list(range(10, 20))
    batch = batch_of([_sample(0, prompt, [1, 2], [3, 4, 5])])
    common = len(prompt) - 1  # its last token predicts the first of each answer
    assert batch.input_ids.tolist() == [[*prompt, 1, 2, prompt[-1], 3, 4, 5]]
    assert batch.position_ids.tolist() == [[*range(12), *range(common, 13)]]
    assert batch.beginnings == ((0, 0), (0, common))
    assert batch.lengths == (12, 13)
    assert batch.num_tokens == 25
    assert batch.targets.tolist() == [1, 2, 3, 4, 5]
    assert batch.predicting.tolist() == [9, 10, 12, 13, 14]
    assert batch.owners.tolist() == [0, 0, 1, 1, 1]
    assert batch.origins.tolist() == [10, 11, 22, 23, 24]
    assert batch.ends.tolist() == [11, 15]


def test_the_longer_answer_has_the_prompt_wherever_it_stands():
    prompt = list(range(10, 20))
    batch = batch_of([_sample(0, prompt, [1, 2], [3] * 20)])
    assert batch.input_ids.tolist() == [[*prompt, *[3] * 20, prompt[-1], 1, 2]]
    assert batch.beginnings == ((0, 0), (0, 9))
    assert batch.ends.tolist() == [32, 29]


def test_no_two_targets_are_predicted_from_one_place():
    predicting = batch_of(_samples(SYSTEM), len(SYSTEM)).predicting.tolist()
    assert len(set(predicting)) == len(predicting)


def test_a_short_beginning_is_computed_for_each_answer():
    samples = [_sample(0, list(range(10, 18)), [1], [2]), _sample(1, list(range(10, 19)), [1], [2]), _samples([])[6]]
    assert sample_beginnings(samples).tolist() == [0, 8, 0]
    assert own_lengths(samples, 0) == [18, 20 - 8, 35]
    assert batch_of(samples[:1]).beginnings == ()


def test_what_all_samples_share_is_not_counted_twice():
    samples = _samples(SYSTEM)
    batch = batch_of(samples, len(SYSTEM))
    assert batch.input_ids.numel() == len(SYSTEM) + sum(own_lengths(samples, len(SYSTEM)))
    assert batch.num_tokens == sum(len(document.input_ids) for one in samples for document in one.documents)


@pytest.mark.parametrize("matmul_length", [256, 0])
@pytest.mark.parametrize("prefix", [[], SYSTEM], ids=["alone", "behind what all share"])
def test_log_probabilities_and_gradients_are_those_of_each_answer_alone(prefix, matmul_length, monkeypatch):
    monkeypatch.setattr(grouped, "_MATMUL_LENGTH", matmul_length)
    samples = _samples(prefix)
    together, alone = _model(), _model()
    batch = batch_of(samples, len(prefix))
    assert sum(number > 0 for _, number in batch.beginnings) == 7
    found = document_log_probs(together, batch, torch.float32)
    documents = [document for sample in samples for document in sample.documents]
    expected = torch.cat(
        [document_log_probs(alone, batch_of([Sample(0, (document,))]), torch.float32) for document in documents]
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)
    weights = torch.linspace(-1.0, 1.0, len(documents))
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for (name, one), other in zip(together.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_a_pass_is_the_same_to_the_bit_each_time():
    samples = _samples([])
    found = []
    for _ in range(2):
        model = _model()
        document_log_probs(model, batch_of(samples), torch.float32).sum().backward()
        found.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_beginnings_may_go_on_from_beginnings():
    """Three documents, of which each begins as the one before it does: a tree of any depth."""
    row = layout((6, 5, 7), 2, CPU, beginnings=((0, 0), (0, 3), (1, 4)))
    assert row.places.tolist() == [0, 1, *range(2, 8), 2, 3, 4, 8, 9, 2, 3, 4, 8, 10, 11, 12]
    assert row.places[row.kept].tolist() == list(range(13))
    assert row.whole == layout((6, 5, 7), 2, CPU)


def test_tokens_put_in_front_move_the_whole_row():
    row = behind_shared_tokens(layout((4, 5), 0, CPU, padding=1, beginnings=((0, 0), (0, 3))), 2)
    assert row.places.tolist() == [0, 1, 2, 3, 4, 5, 2, 3, 4, 6, 7, 8]
    assert row.kept.tolist() == [0, 1, 2, 3, 4, 5, 9, 10, 11]


def test_a_document_that_shares_is_as_long_as_alone_for_a_sliding_window():
    sample = _sample(0, list(range(3, 23)), [1] * 10, [2] * 10)
    for window, is_refused in ((29, True), (30, False)):
        model = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=window, attn_implementation=register())).eval()
        if is_refused:
            with pytest.raises(ConfigError, match="looks back 29 tokens, and a row has 30"):
                document_log_probs(model, batch_of([sample]), torch.float32)
        else:
            assert document_log_probs(model, batch_of([sample]), torch.float32).shape == (2,)
