"""Base models: from a name in a job file to a checked local folder, and from that folder to a loaded model.

Safetensors only; nothing that can run code (pickle weights, `auto_map` models) is ever downloaded or loaded.
"""

from workers.models.load import choose_device, load_model, load_tokenizer, save_model, stop_token_ids, stored_dtype
from workers.models.resolve import resolve_base_model, resolve_base_of

__all__ = [
    "choose_device",
    "load_model",
    "load_tokenizer",
    "resolve_base_model",
    "resolve_base_of",
    "save_model",
    "stop_token_ids",
    "stored_dtype",
]
