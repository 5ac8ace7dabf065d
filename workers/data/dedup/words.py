"""A row as the words by which it is compared: what differs in case, punctuation or layout alone is the same.

A word is a run of letters, digits and the signs that change what a formula or a date says. Scripts that are written
without spaces have one word per character, so that n-grams mean something there too.
"""

import re
import unicodedata

from workers.data.row import Content, Message, Notes

_SIGNS = "+-/=<>%"
# Thai to Lao, Tibetan to Myanmar, Khmer, kana, Han, and the planes of rarer Han.
_UNSPACED = "\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(rf"[{_UNSPACED}]|(?:[^\W_{_UNSPACED}]|[{re.escape(_SIGNS)}])+")
_ASCII = bytes(
    ord(chr(code).lower()) if code < 128 and (chr(code).isalnum() or chr(code) in _SIGNS) else 32 for code in range(256)
)
_MAX_CHARACTERS = 1 << 20
"""Of a row that is compared as a whole. What differs after so much text is a copy all the same."""


def words(text: str) -> str:
    """The words of a text in lower case, one space between them; of a text without words all that is no space."""
    if text.isascii():
        found = b" ".join(text.encode().translate(_ASCII).split()).decode()
    else:
        found = " ".join(_WORDS.findall(unicodedata.normalize("NFKC", text).casefold()))
    # Half a surrogate pair is found out later.
    return found or " ".join(text.split()).encode("utf-8", "replace").decode()


def comparable(content: Content, notes: Notes) -> str:
    """The words that are said in a row, by its worse answer too.

    Not those of a system message, which many rows share: a long one would make them all alike.
    """
    return words(said(content, notes, but="system")[:_MAX_CHARACTERS])


def said(content: Content, notes: Notes, but: str = "") -> str:
    """All texts of a row, on lines of their own, but for messages of one role."""
    if isinstance(content, str):
        return content
    texts = [text for message in content if message["role"] != but for text in _texts(message)]
    return "\n".join([*texts, notes.rejected or ""])


def _texts(message: Message) -> list[str]:
    """What a message says, thinks and calls."""
    calls = [call["function"] for call in message.get("tool_calls") or []]
    parts = [message.get("reasoning_content"), message.get("content")]
    return [text for text in parts if text] + [f"{call['name']} {call['arguments']}" for call in calls]
