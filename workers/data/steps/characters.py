"""Broken and invisible characters: mojibake by ftfy, normal form NFC, and what no reader sees.

Both leave ASCII punctuation alone, so JSON stays JSON: curly quotes, full-width letters and ligatures are not touched.
"""

import re
import unicodedata

from ftfy import TextFixerConfig, fix_text
from ftfy.badness import is_bad

_MOJIBAKE = TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)
_BROKEN = re.compile("[\x80-\x84\x86-\x9f\ud800-\udfff]")

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_PAGE_BREAKS = re.compile("[\x0b\x0c]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_INVISIBLE = re.compile(
    "[\u00ad\u180e\u2060-\u2064\ufeff\ufff9-\ufffb]"
    # A space of no width divides words in the scripts of South-East Asia.
    "|(?<![\u0e00-\u109f\u1780-\u17ff])\u200b"
    # Joiners shape the letters of many scripts, and make one emoji of several.
    "|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"
    # Tags belong into flags alone.
    "|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0000-\U000e007f]+"
)
_DIRECTIONS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")

# A character of UTF-8 that was read as single bytes is two characters or more of old encodings; the last one may have
# become a space.
_OLD = r"\x{80}-\x{17f}\x{192}\x{2c6}-\x{2dd}\x{384}-\x{3ce}\x{401}-\x{491}\x{2010}-\x{25ff}\x{f8ff}-\x{fb02}"
SUSPECT_MOJIBAKE = rf"[{_OLD}][{_OLD}]|[\x{{c2}}-\x{{df}}\x{{102}}] |[\x{{80}}-\x{{9f}}]"
SUSPECT_FORM = r"[^\x00-\x7f]"
SUSPECT_CONTROL = (
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}\x{ad}\x{180e}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{206f}"
    r"\x{feff}\x{fff9}-\x{fffb}\x{e0000}-\x{e007f}]"
)
"""What to look for (RE2): without it the functions below return the text itself."""


def fix_mojibake(text: str) -> str:
    """UTF-8 that was read as another encoding, halves of surrogate pairs, and Windows-1252 among control characters."""
    if text.isascii() or not (is_bad(text) or _BROKEN.search(text)):
        return text
    return str(fix_text(text, _MOJIBAKE))


def compose(text: str) -> str:
    """Unicode's normal form NFC: a letter and its accent are one character."""
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def remove_controls(text: str) -> str:
    """Without terminal escapes, control characters and what has no width, save where a script needs it."""
    text = _ESCAPES.sub("", text)
    text = _PAGE_BREAKS.sub("\n", text)
    text = _CONTROLS.sub("", text)
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", text)
    return text if _RIGHT_TO_LEFT.search(text) else _DIRECTIONS.sub("", text)
