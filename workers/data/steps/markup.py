"""HTML in prose as plain text with the code in it kept as code, by selectolax (Lexbor).

Only tags that HTML knows count as tags: `<T>`, `<stdio.h>`, `<your name>` and control tokens of models stay. A
text that holds a page (`<html>`, `<form>`, `<script>`, ...) is left alone in a conversation, where it is the subject.
"""

import html
import re
from collections import Counter
from collections.abc import Callable, Sequence

from selectolax.lexbor import LexborHTMLParser, LexborNode

from workers.data.steps.prose import FENCE, is_code

SUSPECT_MARKUP = r"<[/!a-zA-Z]|&[a-zA-Z#]"
"""What to look for (RE2): without it the text stays as it is."""

_PROSE = (
    "p|div|section|article|header|footer|main|aside|figure|figcaption|blockquote|ul|ol|li|dl|dt|dd|table|thead|tbody|"
    "tfoot|tr|td|th|h[1-6]|hr|address|center|details|summary|a|abbr|b|big|cite|code|del|em|font|i|img|ins|kbd|label|"
    "mark|pre|q|s|samp|small|span|strike|strong|sub|sup|tt|u|var|br|wbr"
)
_PAGE = (
    "html|head|body|title|meta|link|base|script|noscript|style|template|form|input|button|select|option|textarea|nav|"
    "svg|path|canvas|iframe|video|audio|source|object"
)
_NAMES = f"{_PROSE}|{_PAGE}"
_TAG = re.compile(
    rf"<(?P<end>/?)(?P<name>{_NAMES})(?:\s*/?|\s(?=[^<>]*=)[^<>]*+)>|<!--(?:(?!<!--).)*?-->", re.IGNORECASE | re.DOTALL
)
_FLAT = frozenset(
    [
        "p",
        "li",
        "tr",
        "td",
        "th",
        "dt",
        "dd",
        "option",
        "br",
        "hr",
        "img",
        "wbr",
        "input",
        "meta",
        "link",
        "base",
        "source",
    ]
)
"""Tags that leave the next one no deeper: what they open ends by itself."""
_MAX_DEPTH = 200
_IS_PAGE = re.compile(rf"<!doctype|<\?xml|<(?:{_PAGE})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_STARTS_PAGE = re.compile(rf"\s*<(?:!doctype|!--|(?:{_NAMES})\b)", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_KEPT = re.compile(rf"{FENCE.pattern}|`[^`\n]+`|^(?:\t| {{4}})[^\n]*$", FENCE.flags)
_PLACEHOLDER = re.compile("\ue000(\\d+)\ue001")


def _around(node: LexborNode, before: str, after: str = "") -> None:
    node.insert_before(before)
    node.insert_after(after)


_EDITS: dict[str, Callable[[LexborNode], object]] = {
    "script, style, template, head, title, noscript, svg": lambda node: node.decompose(),
    "pre": lambda node: node.replace_with(f"\n\n```\n{node.text().strip(chr(10))}\n```\n\n"),
    "code, kbd, samp, tt": lambda node: node.replace_with(f"`{node.text()}`"),
    "img": lambda node: node.replace_with(node.attributes.get("alt") or ""),
    "br": lambda node: node.replace_with("\n"),
    "li": lambda node: _around(node, "\n- "),
    "td, th": lambda node: _around(node, "", " "),
    "tr, dt, dd": lambda node: _around(node, "", "\n"),
    "p, div, section, article, blockquote, ul, ol, dl, table, h1, h2, h3, h4, h5, h6, hr, figure": lambda node: _around(
        node, "\n\n", "\n\n"
    ),
}
"""What becomes of the elements that a CSS selector finds, in this order; of all others the text stays."""


def strip_markup(text: str, *, may_be_page: bool) -> str:
    """`text` without tags and entities; code in it stays, and so does a text that is code.

    Args:
        may_be_page: tags of whole pages go as well, and all markup of a text that starts with a tag; otherwise a text
            with a tag of whole pages stays as it is.
    """
    if "\ue000" in text or not _is_markup(text, may_be_page):
        return text
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match.group())
        return f"\ue000{len(kept) - 1}\ue001"

    prose = _KEPT.sub(keep, text)
    tags = list(_TAG.finditer(prose))
    if _depth(tags) > _MAX_DEPTH:
        return text
    prose = _without_tags(prose, tags) if tags else _ENTITY.sub(lambda match: html.unescape(match.group()), prose)
    return _PLACEHOLDER.sub(lambda match: kept[int(match[1])], prose)


def _is_markup(text: str, may_be_page: bool) -> bool:
    """Whether the tags in a text are for its reader rather than what it is about."""
    if may_be_page and _STARTS_PAGE.match(text):
        return True
    return (may_be_page or not _IS_PAGE.search(FENCE.sub("", text))) and not is_code(_ENTITY.sub("", text))


def _depth(tags: Sequence[re.Match[str]]) -> int:
    """How deep elements may stand in one another at most. Editing a tree costs the square of its depth."""
    deepest = depth = 0
    still_open: Counter[str] = Counter()
    for tag in tags:
        is_end, name, is_closed = tag["end"], (tag["name"] or "").lower(), tag.group().endswith("/>")
        if is_end and still_open[name]:
            still_open[name] -= 1
            depth -= 1
        elif name and not is_end and not is_closed and name not in _FLAT:
            still_open[name] += 1
            depth += 1
            deepest = max(deepest, depth)
    return deepest


def _without_tags(prose: str, tags: Sequence[re.Match[str]]) -> str:
    escaped = []
    start = 0
    for tag in tags:
        escaped += [prose[start : tag.start()].replace("<", "&lt;"), tag.group()]
        start = tag.end()
    escaped.append(prose[start:].replace("<", "&lt;"))
    body = LexborHTMLParser(f"<body>{''.join(escaped)}").body
    assert body is not None, "the parser always makes a body"
    for selector, edit in _EDITS.items():
        for node in body.css(selector):
            edit(node)
    return _tidy(body.text())


def _tidy(text: str) -> str:
    """The blank lines that blocks leave behind, outside what was kept and outside the code of this page."""
    pieces = re.split(r"(\n```\n.*?\n```\n)", text, flags=re.DOTALL)
    pieces[::2] = [re.sub(r"(?<![ \t])[ \t]*\n(?:[ \t]*\n)+", "\n\n", piece) for piece in pieces[::2]]
    return "".join(pieces).strip("\n")
