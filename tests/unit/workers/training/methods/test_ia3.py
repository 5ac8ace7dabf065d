"""What is special about IA3: which layers it means, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from luthier.spec import Ia3Spec
from tests.unit.workers.training.methods.rows import ROWS
from tests.unit.workers.training.methods.trained import adapt
from tests.unit.workers.training.tiny_run import make_base, weights
from workers.failures import ConfigError
from workers.training.methods.ia3 import add_ia3


def test_keys_and_values_are_rescaled_and_the_inputs_of_the_second_feed_forward_layer(base_dir: Path) -> None:
    vectors = weights(adapt(ROWS["ia3"], base_dir))
    assert {".".join(name.split(".")[4:-2]) for name in vectors} == {
        f"{layer}.{name}" for layer in (0, 1) for name in ("self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj")
    }
    assert all(torch.equal(vector, torch.ones_like(vector)) for vector in vectors.values())


def test_feed_forward_layers_of_ones_own_choice_have_vectors_for_their_inputs() -> None:
    section = Ia3Spec(type="ia3", target_modules=["up_proj", "down_proj"], feedforward_modules=["down_proj"])
    shapes = {
        name.split(".")[-3]: tuple(vector.shape) for name, vector in weights(add_ia3(make_base(), section)).items()
    }
    assert shapes == {"up_proj": (48, 1), "down_proj": (1, 48)}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"feedforward_modules": ["down_proj"]}, "needs target_modules beside it"),
        ({"target_modules": ["k_proj"], "feedforward_modules": ["down_proj"]}, "has 'down_proj', which target_modules"),
    ],
)
def test_what_no_model_could_fit_is_refused_in_the_job_file(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Ia3Spec(type="ia3", **section)


def test_what_does_not_fit_the_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method.target_modules 'key' does not fit this model"):
        add_ia3(make_base(), Ia3Spec(type="ia3", target_modules=["key"]))
    model = make_base()
    model.config.model_type = "novel"
    with pytest.raises(ConfigError, match=r"'auto' is not known for models of type novel; name the layers there"):
        add_ia3(model, Ia3Spec(type="ia3"))
