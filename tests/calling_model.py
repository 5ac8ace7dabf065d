"""A tiny model that has learned one thing: to call a function, and to say in words what the function returned."""

import json
from pathlib import Path

import torch

from workers.data.tokens.render import render_texts, token_ids
from workers.models import load_model, load_tokenizer, save_model

TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOL = {
    "type": "function",
    "function": {"name": "sky", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
QUESTION = {"role": "user", "content": "sky?"}
WORDS = "I look."
ARGUMENTS = '{"city": "Oslo"}'
CALL = {"type": "function", "function": {"name": "sky", "arguments": ARGUMENTS}}
RESULT = {"role": "tool", "content": "fog"}
ANSWER = "It is foggy."

_NUM_STEPS = 120


def make_calling_model(tiny_model_dir: Path, folder: Path) -> Path:
    """Makes `folder`: the tiny model, trained until it calls `sky` when asked for it, and talks when it knows."""
    torch.manual_seed(0)
    model, tokenizer = load_model(tiny_model_dir, torch.float32), load_tokenizer(tiny_model_dir)
    tokenizer.chat_template = TEMPLATE
    tools = json.dumps([TOOL])
    calling = {"role": "assistant", "content": WORDS, "tool_calls": [CALL]}
    rows = [[QUESTION, calling], [QUESTION, calling, RESULT, {"role": "assistant", "content": ANSWER}]]
    asked = [row[:-1] for row in rows]
    prompts = token_ids(tokenizer, render_texts(tokenizer, asked, add_generation_prompt=True, tools=[tools] * 2))
    wholes = token_ids(tokenizer, render_texts(tokenizer, rows, add_generation_prompt=False, tools=[tools] * 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(_NUM_STEPS):
        for prompt, whole in zip(prompts, wholes, strict=True):
            ids = torch.tensor([whole])
            labels = ids.clone()
            labels[0, : len(prompt)] = -100
            model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_model(model, tokenizer, folder, torch.float32)
    return folder
