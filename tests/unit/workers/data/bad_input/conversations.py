"""Rows that are JSON and mean nothing, alone or together, or can be mended; and tokenizers that cannot be used."""

from luthier.spec.objective import ClassificationSpec, DpoSpec, KtoSpec, RewardSpec
from tests.unit.workers.data.bad_input.case import ANSWER, PAIR, USER, Case, bad_row, chat, rows
from workers.failures import ConfigError

_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
_CALLING = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
_BROKEN_CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{oops"}}]}
_PICTURE = {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}
_SYSTEM = {"role": "system", "content": "be brief"}
_DPO, _KTO, _REWARD = DpoSpec(type="dpo"), KtoSpec(type="kto"), RewardSpec(type="reward")
_CLASSES = ClassificationSpec(type="classification", labels=["x", "y"])
_ANY_CLASSES = ClassificationSpec(type="classification")
_X, _Y, _Z = ({"text": f"about {label}", "label": label} for label in "xyz")
_COMPARED = {"prompt": "a", "chosen": "b", "rejected": "c"}
_SAME = {**_COMPARED, "rejected": "b"}
_TWO_QUESTIONS = {"chosen": [USER, ANSWER], "rejected": [{**USER, "content": "other"}, ANSWER]}

ROLES = [
    bad_row("a role unknown", chat(USER, {**ANSWER, "role": "wizard"}), "wrong roles", "message 2 has role 'wizard'"),
    bad_row("the assistant first", chat(ANSWER, USER, ANSWER), "wrong roles", "message 1 is assistant, expected user"),
    bad_row("two questions in a row", chat(USER, USER, ANSWER), "wrong roles", "message 2 is user, expected assistant"),
    bad_row("no answer", chat(USER), "wrong roles", "the last message is user; expected an answer"),
    bad_row("a late system message", chat(USER, _SYSTEM, ANSWER), "wrong roles", "message 2 is system, .* come first"),
    bad_row("no messages", chat(), "wrong roles", "the last message is missing; expected an answer"),
    bad_row(
        "messages that are text",
        rows({"messages": [USER, ANSWER]}, {"messages": "hello"}),
        "wrong type",
        "messages is text; expected a list",
    ),
    bad_row("a message that is null", chat(USER, None), "wrong type", "message 2 is null; expected {role, content}"),
    bad_row(
        "a number for a text", chat({**USER, "content": 7}, ANSWER), "wrong type", r".*content is a number; expected"
    ),
    bad_row("a picture", chat(_PICTURE, ANSWER), "wrong type", r"message 1 .*type 'image_url'; expected text alone"),
    bad_row(
        "an empty answer", chat(USER, {**ANSWER, "content": " "}), "empty", r"message 2 .*content is empty; expected"
    ),
    bad_row("a key unknown", chat(USER, {**ANSWER, "mood": "glad"}), "wrong columns", "message 2 has 'mood'; expected"),
    bad_row(
        "a weight below 0", chat(USER, {**ANSWER, "weight": -1}), "wrong type", r"message 2 .*expected 0 or a positive"
    ),
    bad_row(
        "a weight beyond all numbers",
        chat(USER, {**ANSWER, "weight": 10**400}),
        "wrong type",
        r"message 2 .*weight is 10{39}; expected 0 or a positive number, 1,000,000 at most",
    ),
    bad_row("a call without a result", chat(USER, _CALLING, USER, ANSWER), "wrong roles", "message 3 .* has no result"),
    bad_row(
        "a result without a call",
        chat(USER, {**USER, "role": "tool"}, ANSWER),
        "wrong roles",
        ".*no call waits for one",
    ),
    bad_row(
        "arguments that are no JSON", chat(USER, _BROKEN_CALL), "broken JSON", r"message 2 .*tool call 1 is broken JSON"
    ),
    bad_row("a column that is missing", rows(PAIR, {"prompt": "a"}), "wrong columns", "no completion; found 'prompt'"),
    Case("columns of no shape", rows({"q": "a", "a": "b"}), r"rows\.jsonl: columns found: q, a; expected one of"),
    Case("columns of two shapes", rows({"text": "a", **PAIR}), r"they fit .* and .*; set data\.format to one of them"),
    Case(
        "rows of another objective",
        rows({"text": "a", "label": "b"}),
        r"columns found: text, label; they fit labelled_text, which is for another objective\.type",
        objective=_DPO,
    ),
]

LABELS = [
    bad_row(
        "a label that is neither good nor bad",
        rows({**PAIR, "label": True}, {**PAIR, "label": "maybe"}),
        "wrong type",
        "label is 'maybe'; expected true or false",
        _KTO,
    ),
    bad_row(
        "a label outside the set", rows(_X, _Z, _Y), "unknown label", "'z' is none of x, y; mend it", _CLASSES, kept=2
    ),
    bad_row(
        "a label that is null", rows(_X, {**_Z, "label": None}, _Y), "wrong type", "label is null", _CLASSES, kept=2
    ),
    Case(
        "one class only",
        rows(*({"text": f"text {n}", "label": "x"} for n in range(9))),
        r"every training row has the label 'x', so there is nothing to tell apart; give rows of another class",
        objective=_ANY_CLASSES,
    ),
    Case("nothing to prefer", rows(_SAME, _COMPARED), dropped={"nothing to train on": 1}, kept=1, objective=_DPO),
    Case(
        "answers to two questions",
        rows(_TWO_QUESTIONS, _COMPARED),
        r"line 1: wrong roles: chosen and rejected differ before their last message; expected one prompt for both",
        dropped={"wrong roles": 1},
        kept=1,
        objective=_REWARD,
    ),
]

_SPLIT = {"validation_fraction": 0.1, "test_fraction": 0.1}
_LONG = {"prompt": "x " * 500, "completion": "b"}

TOGETHER = [
    Case("all rows the same", rows(*[PAIR] * 50), dropped={"duplicate": 49}, kept=1),
    Case("all the same, to be split", rows(*[PAIR] * 50), dropped={"duplicate": 49}, kept=1, settings=_SPLIT),
    Case(
        "no row is short enough",
        rows(_LONG),
        r"no row is left .*1 overlong.*see data\.max_length",
        settings={"max_length": 64},
    ),
    Case(
        "only context", rows({"messages": [USER, {**ANSWER, "weight": 0}]}), r"no row is left .*1 nothing to train on"
    ),
]

_CLEAN, _REPAIR = {"clean": {}}, {"repair": {}}

MENDED = [
    Case(
        "UTF-8 that was read as Latin-1",
        rows({**PAIR, "completion": "cafÃ© au lait"}),
        dropped={},
        kept=1,
        repaired={"mojibake": 1},
        settings=_CLEAN,
    ),
    Case(
        "NUL, an escape of a terminal and a space of no width",
        rows({**PAIR, "completion": "a\0b \x1b[31mred\x1b[0m c\u200bd"}),
        dropped={},
        kept=1,
        repaired={"control characters": 1},
        settings=_CLEAN,
    ),
    Case(
        "spaces at the ends of lines",
        rows({**PAIR, "completion": "a  \r\nb \t"}),
        dropped={},
        kept=1,
        repaired={"white space": 1},
        settings=_CLEAN,
    ),
    Case(
        "roles that can be mended",
        rows({"messages": [ANSWER, USER, {**USER, "content": "and"}, ANSWER, USER]}),
        dropped={},
        kept=1,
        repaired={"leading answer": 1, "merged turns": 1, "trailing question": 1},
        settings=_REPAIR,
    ),
]

_REFUSED = r"line 1: refused by the chat template: "
_COUNTING = "{{ messages | length }}{% for message in messages %}{{ message.content }}{% endfor %}"
_CHATS = rows({"messages": [USER, ANSWER, USER, ANSWER]})

TEMPLATES = [
    Case("no chat template", rows(PAIR), r"has no chat template.*use an instruct model", ConfigError, template=""),
    Case(
        "a template that drops the answer",
        rows(PAIR),
        r"leaves out what the assistant says, so there is nothing to learn; give data\.chat_template",
        ConfigError,
        template="{% for message in messages %}{{ message.content if message.role == 'user' }}{% endfor %}",
    ),
    Case("a template that refuses", rows(PAIR), f"{_REFUSED}not today", template="{{ raise_exception('not today') }}"),
    Case("a template with a fault", rows(PAIR), f"{_REFUSED}.*can only concatenate", template="{{ bos_token + 1 }}"),
    Case("a template that is none", rows(PAIR), f"{_REFUSED}Expected an expression", template="{% for %}"),
    Case(
        "a template that rewrites",
        _CHATS,
        r"line 1: unstable chat template",
        ConfigError,
        template=_COUNTING,
    ),
    Case(
        "a template that counts for ever",
        rows(PAIR),
        f"{_REFUSED}.*too big",
        template="{% for i in range(10 ** 12) %}{% endfor %}",
    ),
    Case(
        "a template that calls itself",
        rows(PAIR),
        f"{_REFUSED}.*recursion",
        template="{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    ),
    *(
        Case(
            f"a template {what}",
            rows(PAIR),
            r"the chat template of .* was stopped: line 2: it needs more than .* steps.*correct data\.chat_template",
            ConfigError,
            template=f"{{{{ bos_token }}}}\n{source}",
        )
        for what, source in (
            ("that repeats a text", "{{ 'x' * 10 ** 10 }}"),
            ("of loops within loops", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
            ("with a wide format", "{{ '%1000000000d' | format(1) }}"),
            ("that pads", "{{ 'a' | center(10 ** 9) }}{{ 'a'.ljust(10 ** 9) }}"),
            (
                "that doubles a text",
                "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            ),
            (
                "that calls itself twice",
                "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(100) }}",
            ),
            (
                "that is quick until there is an answer",
                "{% for m in messages %}{{ m.content }}{% endfor %}{{ 'x' * 10 ** 10 if messages[1] }}",
            ),
        )
    ),
    Case(
        "a template that looks around", rows(PAIR), f"{_REFUSED}.*unsafe", template="{{ messages.__class__.__mro__ }}"
    ),
]
