"""What becomes of an adapter that is exported as that of a classifier."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM, set_seed

from luthier.spec import ClassificationSpec, LoraSpec
from tests.unit.workers.training.tiny_run import Recorder, as_samples, make_documents, make_engine
from workers.export.classifier import _add_head
from workers.export.peft import write_peft
from workers.models import load_tokenizer
from workers.models.tuned import ADAPTER
from workers.training.classes import Classes
from workers.training.heads import HEAD, document_scores, output_name, put_back, put_head, save_head
from workers.training.methods import METHODS
from workers.training.objectives import OBJECTIVES
from workers.training.packing import make_batch

CPU = torch.device("cpu")


@pytest.mark.parametrize("tied", [False, True])
def test_rows_of_added_tokens_in_the_output_layer_stay_behind(tmp_path: Path, tiny_model_dir: Path, tied: bool) -> None:
    """A classifier has no such layer, and PEFT refuses an adapter for a layer that is not there."""
    tokenizer = load_tokenizer(tiny_model_dir)
    base = tmp_path / "base"
    set_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=tied,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    section, method = LoraSpec(r=4, added_tokens=["<|im_start|>"]), METHODS["lora"]
    model = method.adapt(method.load(base, torch.float32, CPU, section), section)
    replaced = put_head(model, 2)
    objective = OBJECTIVES["classification"](ClassificationSpec(type="classification"))
    rows = [replace(one, label="ab"[one.number % 2]) for one in as_samples(make_documents(8))]
    engine, _ = make_engine(
        tmp_path, Recorder(), model=model, objective=objective, train=rows, validation=[], max_steps=3
    )
    engine.run()
    with torch.no_grad():
        expected = document_scores(model, make_batch(make_documents(3)), torch.float32)
    artifact, output = tmp_path / "artifact", output_name(model)
    artifact.mkdir()
    save_head(model, Classes(("a", "b")), artifact)
    put_back(model, replaced)
    method.save(model, base, artifact)

    write_peft(artifact / ADAPTER, tmp_path / "peft", "org/name")
    _add_head(artifact / HEAD, tmp_path / "peft", output)
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    loaded = PeftModel.from_pretrained(plain, str(tmp_path / "peft")).eval()
    for document, scores in zip(make_documents(3), expected, strict=True):
        with torch.no_grad():
            found = loaded(input_ids=torch.from_numpy(document.input_ids.astype("int64"))[None]).logits[0]
        assert found == pytest.approx(scores, abs=1e-5)
