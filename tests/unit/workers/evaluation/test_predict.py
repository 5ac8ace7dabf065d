"""What a model is compared with: the last answer as a model writes it."""

import json
from pathlib import Path

import pytest
import torch
import trl

from workers.data.dataset import Example
from workers.data.row import Message
from workers.data.tokens.encode import Encoded, Encoder
from workers.evaluation.predict import predict
from workers.evaluation.steps import Steps
from workers.models import load_model, load_tokenizer

USER: Message = {"role": "user", "content": "weather?"}
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": json.dumps({"city": "Paris"})}}


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ({"role": "assistant", "content": "sunny"}, "sunny"),
        (
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            '<think>\n\n</think>\n\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>',
        ),
        ({"role": "assistant", "content": "sunny", "reasoning_content": "hm"}, "<think>\nhm\n</think>\n\nsunny"),
    ],
)
def test_calls_and_reasoning_are_part_of_the_reference(
    tiny_model_dir: Path, quiet_report: object, answer: Message, reference: str
) -> None:
    tokenizer = load_tokenizer(tiny_model_dir)
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
    tools = json.dumps([{"type": "function", "function": {"name": "get_weather"}}])
    (encoded,) = Encoder(tokenizer).encode([[USER, answer]], tools=[tools])
    assert isinstance(encoded, Encoded)
    example = Example(1, "f.jsonl", encoded.input_ids, encoded.trainable, [USER, answer], tools=tools)
    steps = Steps(quiet_report, 2)  # type: ignore[arg-type]
    model = load_model(tiny_model_dir, torch.float32)
    (prediction,) = predict(model, tokenizer, [example], max_new_tokens=2, who="base", steps=steps)
    assert prediction.reference.strip() == reference
