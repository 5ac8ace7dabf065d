"""Which rows are equal: same roles, words and notes, whatever the white space."""

import hashlib
import json

from workers.data.row import Content, Message, Notes


def fingerprint(content: Content, seed: bytes = b"", notes: Notes = Notes()) -> bytes:  # noqa: B008 - immutable
    """128 bits (BLAKE2b, RFC 7693) that are equal for rows that differ in white space or in weights alone.

    With a seed they also are a random draw: ordering rows by them shuffles them, wherever the rows stand.
    """
    parts = [content] if isinstance(content, str) else [part for message in content for part in _parts(message)]
    parts += ["/"] * 2 + [notes.rejected or "", notes.label or ""] if notes.rejected or notes.label else []
    parts += ["/"] * 3 + [notes.tools] if notes.tools else []
    parts += ["/"] * 4 + notes.labels if notes.labels is not None else []
    normal = json.dumps([" ".join(part.split()) for part in parts], ensure_ascii=False)
    return hashlib.blake2b(normal.encode("utf-8"), digest_size=16, key=seed).digest()


def _parts(message: Message) -> list[str]:
    """What it says; the ids of calls are made up and say nothing."""
    parts = [message["role"], message["content"]]
    if len(message) == len(parts):
        return parts
    functions = [call["function"] for call in message.get("tool_calls", ())]
    said = [message[key] for key in ("reasoning_content", "name") if key in message]
    return [*parts, *said, *(part for function in functions for part in (function["name"], function["arguments"]))]
