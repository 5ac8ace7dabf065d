"""Chat templates, rendered in Jinja's sandbox with a budget of steps. The one place where a conversation becomes text.

Preprocessing, evaluation and export render by it, and it is copied into every Triton model, so a template can hang or
fill neither a worker nor a server, whoever wrote it. What it writes is what `apply_chat_template` of transformers
writes: the filters, functions and tags are those of its environment. It needs transformers and nothing of Luthier.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from jinja2 import Template, TemplateError, pass_context
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers.utils.chat_template_utils import _alias_reasoning_fields, _compile_jinja_template

from .template_bounds import CALLS, FILTERS, OPERATORS
from .template_tree import COPIED, JOINED, LOOKED_INTO, TURN, metered
from .template_work import WORK, TemplateLimitError, Work, shallow_size_of

MAX_TEMPLATE_CHARACTERS = 1 << 18
"""Templates of models have some thousands. A longer one is not compiled, which may take minutes."""
RENDERING_FAULTS = (TypeError, ValueError, ArithmeticError, LookupError, RecursionError)
"""What a template raises beside Jinja's own errors: `1 + "a"`, a loop over more than the sandbox allows, a macro that
calls itself."""

_AT_ONCE = {"abs", "attr", "count", "d", "default", "first", "items", "last", "length", "random"}
"""Filters that do not look into their values."""
_ONE_BY_ONE = {"batch", "list", "map", "reject", "rejectattr", "reverse", "select", "selectattr", "slice"}
"""Filters that hand on the entries of their values as they are."""
_TO_THE_END = {"groupby", "join", "max", "min", "sort", "sum", "unique"}
"""Filters that read all entries. What makes them one by one has made them before they are measured."""
_DEEP_TESTS = {
    *("==", "eq", "equalto", "!=", "ne", "<", "lt", "lessthan", "<=", "le", ">", "gt", "greaterthan", ">=", "ge"),
    *("in", "lower", "upper"),
}
_OF_JINJA = {"_block_vars", "_loop_vars"}
"""What Jinja itself adds to the arguments of a call, and takes away again."""
_OF_ENTRIES = {"copy", "count", "index"}
"""Methods that look at every entry of a list or an object."""


def render_template(
    source: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    tokens: Mapping[str, Any],
    *,
    add_generation_prompt: bool,
) -> str:
    """What `source` makes of a conversation.

    Args:
        source: text of the template.
        messages: JSON objects with `role` and `content`; a key without a value counts as not there.
        tools: JSON schemas of the functions that the assistant may call.
        tokens: the tokenizer's `special_tokens_map`.
        add_generation_prompt: whether the head of the answer to come is written.

    Raises:
        jinja2.TemplateError: it is no template, or refuses the conversation. So do `RENDERING_FAULTS`.
        TemplateLimitError: it takes more steps than a conversation may, or is too long.
    """
    template = compiled(source)
    given = _alias_reasoning_fields([{k: v for k, v in m.items() if v is not None} for m in messages])
    with_tools = None if tools is None else list(tools)
    work = WORK.set(Work([given, with_tools]))
    try:
        return template.render(
            messages=given, tools=with_tools, documents=None, add_generation_prompt=add_generation_prompt, **tokens
        )
    except TemplateLimitError as error:
        raise TemplateLimitError(f"{_place(error)}{error}") from error
    finally:
        WORK.reset(work)


@lru_cache(maxsize=16)
def compiled(source: str) -> Template:
    """The template, in an environment of its own.

    Raises:
        jinja2.TemplateError: it is none.
        TemplateLimitError: it is too long.
    """
    return compiled_in(metering_environment(), source)


def compiled_in(environment: ImmutableSandboxedEnvironment, source: str) -> Template:
    """As `compiled`, in `metering_environment()` or an overlay of it."""
    if len(source) > MAX_TEMPLATE_CHARACTERS:
        raise TemplateLimitError(f"it has {len(source):,} characters, and may have {MAX_TEMPLATE_CHARACTERS:,}")
    try:
        tree = metered(environment.parse(source))
        tree.set_environment(environment)
        return environment.from_string(tree)
    except (RecursionError, SyntaxError, ValueError) as error:
        raise TemplateError(f"it cannot be compiled: {error}") from error


def metering_environment(concat: Callable[[Iterable[str]], str] | None = None) -> "_MeteringEnvironment":
    """The environment of transformers, with a meter in it.

    `concat` makes one text of the pieces of a template, a macro or a block, after it had them `counted`.
    """
    # The library's own: another one might know other filters, or lack one.
    theirs = _compile_jinja_template("").environment
    ours = _MeteringEnvironment(
        trim_blocks=theirs.trim_blocks,
        lstrip_blocks=theirs.lstrip_blocks,
        extensions=[type(extension) for extension in theirs.extensions.values()],
        finalize=_measured_whole,
    )
    ours.concat = concat or _concat  # type: ignore[method-assign]  # an attribute, which Jinja asks for
    ours.globals |= theirs.globals
    for name in theirs.filters:
        ours.filters[name] = theirs.filters[name] if name in _AT_ONCE else _metered_filter(theirs, name)
    for name in _DEEP_TESTS:
        ours.tests[name] = _metered_test(theirs, name)
    ours.filters |= {TURN: _turn, JOINED: _joined, COPIED: _copied, LOOKED_INTO: _looked_into}
    return ours


def counted(parts: Iterable[str]) -> list[str]:
    """What is going to be joined to one text."""
    listed = list(parts)
    WORK.get().take(sum(map(str.__len__, listed)))
    return listed


def _concat(parts: Iterable[str]) -> str:
    return "".join(counted(parts))


class _MeteringEnvironment(ImmutableSandboxedEnvironment):
    """Jinja asks a sandbox before it applies an operator or calls anything."""

    intercepted_binops = frozenset(OPERATORS)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        WORK.get().take(OPERATORS[operator](left, right))
        return self.binop_table[operator](left, right)

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        work = WORK.get()
        if isinstance(called, Macro | LoopContext | BlockReference | type):
            work.call(shallow_size_of(args) + shallow_size_of(kwargs))
            return super().call(context, called, *args, **kwargs)
        if getattr(called, "__name__", "") == "join":
            args = tuple(list(argument) if isinstance(argument, Iterator) else argument for argument in args)
        _pay_for_call(work, called, args, kwargs)
        result = super().call(context, called, *args, **kwargs)
        work.take(shallow_size_of(result))
        return result


def _pay_for_call(work: Work, called: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    name = getattr(called, "__name__", "")
    # The sandbox puts a function of its own in the place of `str.format`.
    owner = getattr(getattr(called, "__wrapped__", called), "__self__", None)
    cost = 0
    if isinstance(owner, str | bytes):
        cost = shallow_size_of(owner)
    elif name in _OF_ENTRIES:
        cost = work.size_of(owner)[0]
    named = kwargs and {key: value for key, value in kwargs.items() if key not in _OF_JINJA}
    for argument in (*args, *named.values()):
        cost += len(argument) if type(argument) is str else work.size_of(argument)[0]
    work.call(cost)
    if bound := CALLS.get(name):
        work.take(bound(*args, **named) if owner is None else bound(owner, *args, **named))


def _metered_filter(theirs: Any, name: str) -> Any:
    call, bound = partial(theirs.call_filter, name), FILTERS.get(name)
    is_shallow, reads_all = name in _ONE_BY_ONE, name in _TO_THE_END

    @pass_context
    def metered_filter(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        work = WORK.get()
        if reads_all and isinstance(value, Iterator):
            value = list(value)
        cost = shallow_size_of(value) if is_shallow or isinstance(value, str) else work.size_of(value)[0]
        for argument in (*args, *kwargs.values()):
            cost += work.size_of(argument)[0]
        work.call(cost)
        if bound is not None:
            work.take(bound(value, *args, **kwargs))
        result = call(value, args, kwargs, context=context)
        work.take(shallow_size_of(result))
        return result

    return metered_filter


def _metered_test(theirs: Any, name: str) -> Any:
    call = partial(theirs.call_test, name)

    @pass_context
    def metered_test(context: Context, value: Any, *args: Any) -> Any:
        work = WORK.get()
        work.call(work.size_of((value, *args))[0])
        return call(value, args, context=context)

    return metered_test


@pass_context
def _turn(context: Context, steps: int) -> bool:
    WORK.get().spend(steps)
    return True


@pass_context
def _joined(context: Context, values: tuple[Any, ...]) -> str:
    work = WORK.get()
    for value in values:
        work.take(len(value) if type(value) is str else work.size_of(value)[0])
    return markup_join(values) if context.eval_ctx.autoescape else str_join(values)


@pass_context
def _copied(context: Context, value: Any) -> Any:
    WORK.get().take(shallow_size_of(value))
    return value


@pass_context
def _looked_into(context: Context, value: Any) -> Any:
    work = WORK.get()
    work.take(len(value) if type(value) is str else work.size_of(value)[0])
    return value


def _measured_whole(value: Any) -> Any:
    """The value, which is going to be written. A text was measured when it was made."""
    if type(value) is not str and not isinstance(value, int):
        work = WORK.get()
        work.take(work.size_of(value)[0])
    return value


def _place(error: TemplateLimitError) -> str:
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == "<template>"]
    return f"line {lines[-1]}: " if lines else ""
