"""What a rendering may cost: a budget of steps, so that no chat template runs for ever or fills the memory.

Every turn of a loop, call, filter and operator takes steps, and so do the characters and entries that it reads and
makes. The number depends on the template and the conversation alone: what renders on one machine renders on all.
"""

from collections.abc import Collection, Mapping
from contextvars import ContextVar
from typing import Any

from jinja2.utils import Namespace

BASE_STEPS = 1 << 22
"""For any conversation. Templates of models take some thousands."""
STEPS_PER_CHARACTER = 4
"""More for each character of messages and tools."""
CHARACTERS_PER_STEP = 16
_STEPS_PER_CALL = 8
ENTRY = CHARACTERS_PER_STEP
"""Characters that an entry of a list or an object counts as."""
MAX_BITS = 1 << 16
"""Of a whole number: arithmetic on longer ones takes more than linear time."""
MAX_DEPTH = 1000
"""Most lists and objects within each other where they are compared, hashed or written, which C does by recursion."""

_PLAIN = (str, bytes, range)


class TemplateLimitError(Exception):
    """A template wants more than a rendering may take. No error of Jinja's: whoever expects those must not miss it."""


class Work:
    """The steps that one rendering has left."""

    def __init__(self, conversation: object) -> None:
        self._conversation: object | None = conversation
        self._limit = self._left = BASE_STEPS

    def spend(self, steps: int) -> None:
        """
        Raises:
            TemplateLimitError: there are not as many left.
        """
        self._left -= steps
        if self._left < 0:
            self._extend()

    def call(self, characters: int) -> None:
        """Spends what any call takes, and the steps for the characters that it reads."""
        self.spend(_STEPS_PER_CALL + characters // CHARACTERS_PER_STEP)

    def take(self, characters: int) -> None:
        """Spends a step, and those for characters that are read or made; before, where a call could make too many."""
        self.spend(1 + characters // CHARACTERS_PER_STEP)

    def size_of(self, value: Any) -> tuple[int, int]:
        """Characters and entries of a value, all that is within it included, and how deep it is.

        The same list in two places counts twice, as it does where it is written or compared.

        Raises:
            TemplateLimitError: more than may still be taken, too deep, or with a whole number that is too long.
        """
        if type(value) is str:
            return ENTRY + len(value), 1
        if value is None or isinstance(value, bool):
            return ENTRY, 1
        size = depth = 0
        level: Collection[Any] = (value,)
        while level:
            below: list[Any] = []
            for item in level:
                size += ENTRY + shallow_size_of(item)
                if type(item) is str:
                    continue
                if size > self._left * CHARACTERS_PER_STEP:
                    self.take(size)
                below.extend(_parts_of(item))
            level = below
            depth += 1
            if depth > MAX_DEPTH:
                raise TemplateLimitError(f"it puts more than {MAX_DEPTH:,} lists or objects within each other")
        return size, depth

    def _extend(self) -> None:
        """The conversation is measured only where the steps for any conversation do not do."""
        if self._conversation is not None:
            conversation, self._conversation = self._conversation, None
            missing, self._left = -self._left, 1 << 62
            size, _ = self.size_of(conversation)
            self._limit += STEPS_PER_CHARACTER * size
            self._left = STEPS_PER_CHARACTER * size - missing
        if self._left < 0:
            raise TemplateLimitError(
                f"it needs more than {self._limit:,} steps for one conversation, which is {BASE_STEPS:,} and "
                f"{STEPS_PER_CHARACTER} for each of its characters; a call takes {_STEPS_PER_CALL} and more, a turn "
                f"of a loop as many as it is long, and {CHARACTERS_PER_STEP} characters that are made take one"
            )


WORK: ContextVar[Work] = ContextVar("work of a rendering")
"""Set while a conversation is rendered. While a template is compiled it is not, so nothing is computed in advance."""


def shallow_size_of(value: Any) -> int:
    """Characters of a text, or those that the entries of a collection count as, without what is within them.

    Raises:
        TemplateLimitError: it is a whole number that is too long.
    """
    if isinstance(value, str):
        return str.__len__(value)  # of a text that is followed as well, see workers/data/tokens/tracing.py
    if isinstance(value, list | tuple | dict):
        return ENTRY * len(value)
    if value is None or isinstance(value, float):
        return 0
    if isinstance(value, Namespace):
        return 8 * ENTRY  # all that is asked of it goes through Python
    if isinstance(value, int):
        check_bits(value.bit_length())
        return 0
    if isinstance(value, bytes):
        return len(value)
    return ENTRY * len(value) if isinstance(value, Collection) else 0


def check_bits(bits: int) -> None:
    """
    Raises:
        TemplateLimitError: a whole number of as many bits is too long.
    """
    if bits > MAX_BITS:
        raise TemplateLimitError(f"it makes a whole number of more than {MAX_BITS:,} bits")


def _parts_of(value: Any) -> Collection[Any]:
    """What is within a value and is written, compared or hashed with it. Of a range that is nothing."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, Namespace):
        value = value._Namespace__attrs  # the only way in: all other names are those of the template
    if isinstance(value, Mapping):
        return [*value, *value.values()]
    return value if isinstance(value, Collection) and not isinstance(value, _PLAIN) else ()
