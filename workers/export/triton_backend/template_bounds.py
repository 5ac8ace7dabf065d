"""How many characters a filter, method or operator of a chat template reads and makes at most, from its arguments.

What reads its arguments once and makes no more than they are needs no row here. Bounds are loose where real templates
make little of it, and stand for time where that grows faster than the text. Parameters are called as those of Jinja's
filters, because templates may name them.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .template_work import ENTRY, WORK, check_bits, shallow_size_of

_TOO_MANY = 1 << 60
_MAX_LAZY = 100_000
"""Entries of what nobody knows the length of: a range of Jinja's sandbox has no more."""
_NUMBER = 400
"""Characters of a number, written."""
_LINEAR_CODECS = {"utf-8", "utf8", "ascii", "latin-1"}
_PERCENT = re.compile(r"%(?:\([^)]*\))?([^a-zA-Z%]*)")
_BRACES = re.compile(r"\{([^{}]*)\}")
_NESTED = re.compile(r"\{[^{}]*\{(?!\{)")
_DIGITS = re.compile(r"\d+")

Bound = Callable[..., int]


def _count(value: Any) -> int:
    return max(0, value) if isinstance(value, int) else 0


def _text(value: Any) -> str:
    """Called only after what it takes to write the value was taken."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else str(value)


def _length(value: Any) -> int:
    return str.__len__(_text(value))


def _padded(value: Any, width: Any = 80, *_: Any) -> int:
    return _count(width)


def _indented(value: Any, width: Any = 4, first: Any = False, blank: Any = False) -> int:
    indention = len(width) if isinstance(width, str) else _count(width)
    return indention * (1 + len(str.splitlines(_text(value))))


def _word_wrapped(
    value: Any, width: Any = 79, break_long_words: Any = True, wrapstring: Any = None, break_on_hyphens: Any = True
) -> int:
    longest = max(map(len, str.split(_text(value))), default=0)
    return longest**2 // max(1, _count(width)) + (1 + _length(value)) * _length(wrapstring or "\n")


def _filled(value: Any, number: Any = 0, fill_with: Any = None, **named: Any) -> int:
    return ENTRY * sum(map(_count, (number, *named.values()))) + _spread(value)


def _replaced(value: Any, old: Any, new: Any, count: Any = None) -> int:
    return str.count(_text(value), _text(old)) * _length(new)


def _joined(value: Any, d: Any = "", attribute: Any = None) -> int:
    return shallow_size_of(value) // ENTRY * _length(d)


def _rounded(value: Any, precision: Any = 0, method: Any = "common") -> int:
    return _count(abs(precision)) ** 2 if isinstance(precision, int) else 0


def _as_json(
    value: Any, ensure_ascii: Any = False, indent: Any = None, separators: Any = None, sort_keys: Any = False
) -> int:
    size, depth = WORK.get().size_of(value)
    indention = len(indent) if isinstance(indent, str) else _count(indent)
    between = sum(map(_length, separators)) if isinstance(separators, list | tuple) else 0
    return size + size // ENTRY * (indention * depth + between)


def _pretty(value: Any, *_: Any, **__: Any) -> int:
    size, depth = WORK.get().size_of(value)
    return 2 * size * depth


def _spread(value: Any, *_: Any, **__: Any) -> int:
    """A text as a list of its characters."""
    return ENTRY * len(value) if isinstance(value, str) else 0


def _summed(value: Any, attribute: Any = None, start: Any = 0) -> int:
    """Lists are added up by copying, over and over."""
    size, _ = WORK.get().size_of([value, start])
    return 0 if isinstance(start, int | float) else size * (shallow_size_of(value) // ENTRY)


def _untagged(value: Any) -> int:
    return _length(value) * str.count(_text(value), "<")


def _linked(value: Any, *args: Any, **named: Any) -> int:
    return 100 * ENTRY + _length(value) * (8 + sum(map(_length, (*args, *named.values()))))


def _looked_up(value: Any, *args: Any, **named: Any) -> int:
    """`a.b.c` is looked up in each entry."""
    num_dots = sum(text.count(".") for text in (*args, *named.values()) if isinstance(text, str))
    return num_dots * (len(value) if isinstance(value, Collection) else _MAX_LAZY)


def _lorem(n: Any = 5, html: Any = True, *numbers: Any, **named: Any) -> int:
    """`numbers` and `named` are the least and the most words of a sentence."""
    words = sum(map(_count, (*numbers, *named.values())))
    return (_count(n) + words) * (1000 * ENTRY + 20 * (_count(n) + words))


def _by_percent(value: Any, *args: Any, **named: Any) -> int:
    """`text % args`. A width that is not in the text itself may be any."""
    fields = _PERCENT.findall(_text(value))
    widths = sum(_TOO_MANY if "*" in field else _widths(field) for field in fields)
    return widths + len(fields) * (_NUMBER + _written(args, named))


def _by_braces(value: Any, *args: Any, **named: Any) -> int:
    """`text.format(args)`."""
    text = _text(value)
    widths = _TOO_MANY if _NESTED.search(text) else sum(map(_widths, _BRACES.findall(text)))
    return widths + text.count("{") * (_NUMBER + _written(args, named))


def _widths(field: str) -> int:
    return sum(int(digits[:18]) for digits in _DIGITS.findall(field))


def _written(*values: Any) -> int:
    return WORK.get().size_of(values)[0]


def _tabs_expanded(value: Any, tabsize: Any = 8) -> int:
    return str.count(_text(value), "\t") * _count(tabsize)


def _translated(value: Any, table: Any = ()) -> int:
    texts = table.values() if isinstance(table, Mapping) else table
    longest = max((len(text) for text in texts if isinstance(text, str)), default=1) if _is_many(texts) else 1
    return len(value) * longest


def _is_many(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str)


def _coded(value: Any, encoding: Any = "utf-8", *_: Any, **__: Any) -> int:
    """Some codecs take time that grows with the square of the text."""
    return 0 if str(encoding).lower() in _LINEAR_CODECS else len(value) ** 2


def _joined_by(value: Any, entries: Any = ()) -> int:
    return shallow_size_of(entries) // ENTRY * len(value)


def _split(value: Any, *_: Any, **__: Any) -> int:
    return len(value) * ENTRY // 2


def _times(number: int) -> Bound:
    """Characters that become as many."""

    def bound(value: Any, *_: Any, **__: Any) -> int:
        return number * _length(value)

    return bound


FILTERS: dict[str, Bound] = {
    "batch": _filled,
    "center": _padded,
    "e": _times(5),
    "escape": _times(5),
    "forceescape": _times(5),
    "format": _by_percent,
    "groupby": _looked_up,
    "indent": _indented,
    "join": _joined,
    "list": _spread,
    "map": _looked_up,
    "max": _looked_up,
    "min": _looked_up,
    "pprint": _pretty,
    "reject": _looked_up,
    "rejectattr": _looked_up,
    "replace": _replaced,
    "round": _rounded,
    "select": _looked_up,
    "selectattr": _looked_up,
    "slice": _filled,
    "sort": lambda value, *args, **named: _spread(value) + _looked_up(value, *args, **named),
    "striptags": _untagged,
    "sum": _summed,
    "tojson": _as_json,
    "unique": _looked_up,
    "urlencode": _times(12),
    "urlize": _linked,
    "wordwrap": _word_wrapped,
    "xmlattr": _times(5),
}
"""Of filters, beyond their arguments."""

CALLS: dict[str, Bound] = {
    "center": _padded,
    "decode": _coded,
    "encode": _coded,
    "expandtabs": _tabs_expanded,
    "format": _by_braces,
    "format_map": _by_braces,
    "generate_lorem_ipsum": _lorem,
    "join": _joined_by,
    "ljust": _padded,
    "replace": _replaced,
    "rjust": _padded,
    "rsplit": _split,
    "split": _split,
    "splitlines": _split,
    "to_bytes": _padded,
    "translate": _translated,
    "zfill": _padded,
}
"""Of methods, whose object is the first argument, and functions, by the names that Python has for them."""


def _product(left: Any, right: Any) -> int:
    if isinstance(left, int) and isinstance(right, int):
        check_bits(left.bit_length() + right.bit_length())
        return 0
    return shallow_size_of(left) * _count(right) if isinstance(right, int) else shallow_size_of(right) * _count(left)


def _power(left: Any, right: Any) -> int:
    if isinstance(left, int) and isinstance(right, int):
        check_bits(left.bit_length() * abs(right))
    return 0


def _remainder(left: Any, right: Any) -> int:
    if not isinstance(left, str | bytes):
        return 0
    return _length(left) + _by_percent(left, right)


OPERATORS: dict[str, Bound] = {
    "+": lambda left, right: shallow_size_of(left) + shallow_size_of(right),
    "*": _product,
    "**": _power,
    "%": _remainder,
}
