"""Contents that note what a chat template asks of them, so that its output is known for all contents that answer alike.

A template is run once with such contents in the place of real ones, as compilers trace a function and guard the trace
by what it branched on. It may put a content out, strip it, join it to other text, and ask whether it is empty, equals,
contains, starts or ends with a text. Anything else ends the trace with `UntraceableError`.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

Place = tuple[int, tuple[tuple[str, tuple[str, ...]], ...]]
"""Number of the message, and what is done to its content: names of `TRANSFORMS` with their arguments."""

TRANSFORMS: dict[str, Callable[..., str]] = {"strip": str.strip, "lstrip": str.lstrip, "rstrip": str.rstrip}

PREDICATES: dict[str, tuple[Callable[..., bool], bool]] = {
    "__bool__": (bool, True),
    "__contains__": (str.__contains__, False),
    "__eq__": (str.__eq__, False),
    "__ne__": (str.__ne__, True),
    "startswith": (str.startswith, False),
    "endswith": (str.endswith, False),
}
"""What may be asked, with the answer of an ordinary content, which a trace goes on with."""

# Two characters that Unicode sets aside for use inside a program, within white space and characters that escaping
# changes: whoever strips, escapes or cuts a mark without being seen leaves no mark.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_EDGE = " \n\t"
_FRAGILE = "\"\\<&>'"
_MARK = re.compile(f"{_EDGE}{_OPEN}([0-9]+){re.escape(_FRAGILE)}{_CLOSE}{_EDGE}")


class UntraceableError(Exception):
    """The template does to a content what cannot be followed."""


@dataclass(frozen=True)
class Guard:
    """What a template asked of a content."""

    place: Place
    predicate: str
    """Key of `PREDICATES`."""
    argument: str | None

    def holds(self, content: str) -> bool:
        """Whether this content gets the answer that the trace went on with."""
        function, answer = PREDICATES[self.predicate]
        text = transformed(content, self.place)
        return (function(text) if self.argument is None else function(text, self.argument)) == answer


@dataclass
class Trace:
    """One run of a template."""

    guards: dict[Guard, None] = field(default_factory=dict)
    """In the order in which they were asked, each once."""
    _places: list[Place] = field(default_factory=list)

    def content(self, place: Place) -> str:
        """A string that stands for the content of a message."""
        mark = f"{_EDGE}{_OPEN}{len(self._places)}{_FRAGILE}{_CLOSE}{_EDGE}"
        self._places.append(place)
        return _followed(mark, self, place)

    def concat(self, parts: Iterable[str]) -> str:
        """`"".join`, whose result is followed when there is a content in it."""
        text = "".join(parts)
        return _followed(text, self, None) if _OPEN in text else text

    def pieces(self, text: str) -> tuple[list[str], list[Place]]:
        """What the template wrote around the contents, and the contents, of which there is one less.

        Raises:
            UntraceableError: something was done to a content without being seen.
        """
        pieces = _MARK.split("".join([text]))
        if any(_OPEN in piece or _CLOSE in piece for piece in pieces[::2]):
            raise UntraceableError("a content was changed")
        return pieces[::2], [self._places[int(number)] for number in pieces[1::2]]


def transformed(content: str, place: Place) -> str:
    """The content of a message as the template puts it out at `place`."""
    for name, arguments in place[1]:
        content = TRANSFORMS[name](content, *arguments)
    return content


def _transform(name: str) -> Callable[..., str]:
    def method(self: Any, *arguments: Any) -> str:
        # None, which the filter `trim` hands on, means white space, as does no argument.
        plain = _plain(() if arguments == (None,) else arguments, name)
        if self.place is None:
            raise UntraceableError(name)
        message, before = self.place
        made: str = self.trace.content((message, (*before, (name, plain))))
        return made

    return method


def _predicate(name: str) -> Callable[..., bool]:
    def method(self: Any, *arguments: Any) -> bool:
        plain = _plain(arguments, name)
        if self.place is None or len(plain) > 1:
            raise UntraceableError(name)
        self.trace.guards[Guard(self.place, name, plain[0] if plain else None)] = None
        return PREDICATES[name][1]

    return method


def _plain(arguments: tuple[Any, ...], name: str) -> tuple[str, ...]:
    if any(type(argument) is not str for argument in arguments):
        raise UntraceableError(name)
    return arguments


def _refusal(name: str) -> Callable[..., NoReturn]:
    def method(self: Any, *arguments: object, **named: object) -> NoReturn:
        raise UntraceableError(name)

    return method


# What every object has, and what is not asked of a text.
_KEPT = frozenset(dir(object)) - {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__format__"}

# A text that nothing can be asked in passing: each method of a string is followed or refused.
_Followed: Any = type(
    "_Followed",
    (str,),
    {
        **{name: _refusal(name) for name in dir(str) if name not in _KEPT},
        **{name: _transform(name) for name in TRANSFORMS},
        **{name: _predicate(name) for name in PREDICATES},
        "__str__": lambda self: self,
        "__add__": lambda self, other: self.trace.concat([self, other]),
        "__radd__": lambda self, other: self.trace.concat([other, self]),
    },
)


def _followed(text: str, trace: Trace, place: Place | None) -> str:
    """`text` as a content or, where `place` is None, as a text with contents in it."""
    made = _Followed(text)
    made.trace, made.place = trace, place
    followed: str = made
    return followed
