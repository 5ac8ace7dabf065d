"""What cleaning mends, what it leaves alone, and how it is counted."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.spec import DataSpec
from luthier.spec.data import CleanSpec
from workers.data import problems
from workers.data.dataset import load_split
from workers.data.row import Content, Message, Notes, Row
from workers.data.steps.characters import compose, fix_mojibake
from workers.data.steps.clean import build

ALL = {"encoding": True, "control": True, "white_space": True, "markup": True}
PROGRAM = "def add(a, b):\n    return a + b\n\n\n\nprint(add(1, 2))   \n"


def exchange(prompt: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def clean(content: Content, rejected: str | None = None, **parts: bool) -> Row:
    row = Row(content, Notes(rejected=rejected))
    switches = parts or ALL
    step = build(DataSpec(path="x", clean=CleanSpec(**{name: switches.get(name, False) for name in ALL})))
    assert step is not None
    step([row])
    return row


def cleaned(text: str, **parts: bool) -> str:
    """The text as an answer."""
    content = clean(exchange("Why?", text), **parts).content
    assert isinstance(content, list)
    return content[-1]["content"]


@pytest.mark.parametrize(
    ("part", "before", "after"),
    [
        ("encoding", "schÃ¶n â€œso warâ€\x9d", "schön “so war”"),
        ("encoding", "l\u2019e\u0301te\u0301", "l\u2019été"),
        ("encoding", "half \ud83d of a pair", "half \ufffd of a pair"),
        ("encoding", "它是“好的”\uff0c\uff11。", "它是“好的”\uff0c\uff11。"),
        ("encoding", "naïve café, 10 €, ﬁne, ½", "naïve café, 10 €, ﬁne, ½"),
        ("control", "nul\x00 and bell\x07", "nul and bell"),
        ("control", "\x1b[31mred\x1b[0m \x1b]0;title\x07text", "red text"),
        ("control", "page\x0cbreak", "page\nbreak"),
        ("control", "a\ufeffb\u200bc\u2060d\u00ade", "abcde"),
        ("control", "tab\tand\nline stay", "tab\tand\nline stay"),
        ("control", "می\u200cشود 👩\u200d💻 ไทย\u200bไทย", "می\u200cشود 👩\u200d💻 ไทย\u200bไทย"),
        ("control", "jo\u200diner", "joiner"),
        ("control", "hidden\U000e0049\U000e0047 tags", "hidden tags"),
        ("control", "flag \U0001f3f4\U000e0067\U000e0062\U000e007f", "flag \U0001f3f4\U000e0067\U000e0062\U000e007f"),
        ("control", "turned \u202egnp.exe", "turned gnp.exe"),
        ("control", "שלום \u200fabc", "שלום \u200fabc"),
        ("white_space", "one  \ntwo\t\n\n\n\nthree\n", "one\ntwo\n\nthree"),
        ("white_space", "\n \n  indented first line", "  indented first line"),
        ("white_space", "old\r\nends\rhere", "old\nends\nhere"),
        ("white_space", "- a\n    - b", "- a\n    - b"),
        ("white_space", "see\n```\nx = 1  \n\n\n\ny\n```\n\n\n\nend", "see\n```\nx = 1  \n\n\n\ny\n```\n\nend"),
        ("white_space", "open\n~~~py\nx  \n\n\n\ny  ", "open\n~~~py\nx  \n\n\n\ny"),
        ("white_space", PROGRAM, PROGRAM),
        ("markup", "<p>Paris &amp; <b>Rome</b></p><p>are old.</p>", "Paris & Rome\n\nare old."),
        ("markup", "<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
        ("markup", "5 &lt; 6&nbsp;and &#39;so on&#39;", "5 < 6\xa0and 'so on'"),
        ("markup", "Use <code>a &lt; b</code><br>here", "Use `a < b`\nhere"),
        ("markup", "So:<pre><code>x  = 1\n\n\n\ny</code></pre>done", "So:\n\n```\nx  = 1\n\n\n\ny\n```\n\ndone"),
        (
            "markup",
            "a List<T> of <your name>, i<p and q>r, <stdio.h>",
            "a List<T> of <your name>, i<p and q>r, <stdio.h>",
        ),
        ("markup", "<think>why</think><|im_end|> &co R&D", "<think>why</think><|im_end|> &co R&D"),
        ("markup", "Write `<b>x</b>` or:\n```html\n<b>x</b>\n```\n", "Write `<b>x</b>` or:\n```html\n<b>x</b>\n```\n"),
        ("markup", "Then:\n\n    <b>x</b>\n\n<i>so</i>", "Then:\n\n    <b>x</b>\n\nso"),
        ("markup", "<form><b>Name</b><input></form>", "<form><b>Name</b><input></form>"),
        ("markup", "<!DOCTYPE html>\n<p>whole page</p>", "<!DOCTYPE html>\n<p>whole page</p>"),
        ("markup", "<script>alert(1)</script> is bad", "<script>alert(1)</script> is bad"),
    ],
)
def test_each_part_mends_what_it_is_for_and_nothing_else(part: str, before: str, after: str) -> None:
    assert cleaned(before, **{part: True}) == after
    assert cleaned(after, **{part: True}) == after


def test_a_text_from_a_page_loses_the_page() -> None:
    page = (
        "<html><head><title>T</title><style>p {}</style></head><body><p>Hello <a href='x'>you</a></p><script>1</script>"
    )
    assert clean(page).content == "Hello you"


@pytest.mark.parametrize(
    "text",
    [
        PROGRAM.replace("print(add(1, 2))   \n", "print('<b>&amp;</b>')"),
        '<?xml version="1.0"?>\n<note>\n<p>x</p>\n</note>',
        "<?php echo '<form>&lt;</form>';\n$a = 1;\n",
        json.dumps({"html": "<p>&quot;</p>"}),
    ],
)
def test_a_text_that_is_code_keeps_its_tags(text: str) -> None:
    assert clean(text, markup=True).content == text


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps({"html": "<p>&quot;x&quot;</p>", "lines": "a  \n\n\n\nb", "n": [1, 2.5, None]}, indent=4),
        '{"a": "Ã¶  "}  ',
        '[\n\n\n\n{"text": "caf\\u00e9 &amp; <b>bar</b>"}\n]',
        '{"nul": "\\u0000", "zero": "a\u200bb"}',
    ],
)
def test_json_stays_json_and_says_the_same_but_for_its_broken_characters(answer: str) -> None:
    mended = {"a": "ö  "} if "Ã" in answer else json.loads(answer.replace("\u200b", ""))
    assert json.loads(cleaned(answer)) == mended


@pytest.mark.parametrize(
    "answer",
    [
        PROGRAM,
        "SELECT name,   \n\n\n\n  age FROM people\nWHERE age > 3 AND name <> '<b>';   ",
        "#include <stdio.h>\n\n\n\nint main(void) {\n    return 1 < 2;   \n}\n",
        "const a = `<p>${x}</p>`;   \n\n\n\nexport default a;",
        "Here it is:\n\n```js\nlet a = '<p>&amp;</p>';   \n\n\n\n```",
        "<table>\n  <tr>\n    <td>{{ name }}</td>\n  </tr>\n</table>",
    ],
)
def test_code_in_an_answer_stays_to_the_character(answer: str) -> None:
    row = clean(exchange("Write it.", answer))
    assert row.content == exchange("Write it.", answer)
    assert (row.error, row.repairs) == (None, [])


def test_a_change_is_noted_with_what_it_did() -> None:
    row = clean(exchange("x" * 100 + "  \nWhy?", "Ã¶"), rejected="bad\x00")
    assert row.content == exchange("x" * 100 + "\nWhy?", "ö")
    assert row.notes.rejected == "bad"
    assert [repair.kind for repair in row.repairs] == ["white space", "mojibake", "control characters"]
    assert row.repairs[0][1] == f"'{'x' * 20}  \\nWhy?' became '{'x' * 20}\\nWhy?'"


def test_a_row_of_which_nothing_is_left_is_dropped_with_a_reason() -> None:
    row = clean(exchange("\u200b\ufeff", "Hello"))
    assert row.error is not None
    assert (row.error.reason, row.error.detail) == (problems.EMPTY_AFTER_CLEANING, r"nothing is left of '\u200b\ufeff'")
    system = clean([{"role": "system", "content": " \n"}, *exchange("a", "b")])
    assert system.error is None


def test_a_pair_that_cleaning_makes_equal_is_no_pair() -> None:
    row = clean(exchange("a", "yes"), rejected="yes \n")
    assert row.error is not None
    assert row.error.reason == problems.NOTHING_TRAINABLE


def test_segments_keep_their_white_space_and_tags() -> None:
    segments = [{"role": "context", "content": "<b>Q: \n"}, {"role": "target", "content": " A\x00</b>  \n"}]
    row = clean(segments)
    assert isinstance(row.content, list)
    assert [piece["content"] for piece in row.content] == ["<b>Q: \n", " A</b>  \n"]


def test_reasoning_is_cleaned_and_tool_calls_are_not() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"a":  "x  "}'}}
    answer = {"role": "assistant", "content": "", "reasoning_content": "so  \n", "tool_calls": [call]}
    row = clean([{"role": "user", "content": "do"}, answer])
    assert row.content[-1] == {**answer, "reasoning_content": "so"}  # type: ignore[index]
    assert row.error is None


def test_the_report_counts_mended_rows_and_the_tokens_are_of_the_clean_text(
    write_rows: Callable[..., Path], run: Callable[..., Any]
) -> None:
    rows = [{"prompt": f"hello {i}", "completion": "world  \n" if i % 2 else "Ã¶ne"} for i in range(4)]
    folder, outcome = run(write_rows(rows), validation_fraction=0.0, test_fraction=0.0, clean=CleanSpec())
    assert outcome.repairs.counts == {"mojibake": 2, "white space": 2}
    assert [row.reference for row in load_split(folder, "train")] == ["öne", "world", "öne", "world"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp437", "mac_roman"])
def test_the_quick_look_misses_no_mojibake(encoding: str) -> None:
    """Of sentences in 24 languages, read wrongly, everything that ftfy mends is found without reading it closely."""
    sample = (Path(__file__).parent / "multilingual.jsonl").read_text("utf-8").splitlines()
    for line in sample:
        broken = json.loads(line)["text"].encode("utf-8").decode(encoding, "replace")
        assert cleaned(f"{broken}.", encoding=True) == compose(fix_mojibake(f"{broken}."))


def test_rows_that_are_clean_cost_no_more_than_a_few_times_their_json() -> None:
    """Compared in one run, in time of the processor; the best of nine."""
    words = [
        "the",
        "quick",
        "answer",
        "to",
        "this",
        "question",
        "is",
        "that",
        "nobody",
        "knows",
        "it",
        "for",
        "certain",
    ]
    chats = [exchange(" ".join(words * 3), "\n\n".join([" ".join(words * 5)] * 2)) for _ in range(1000)]
    lines = [json.dumps(chat) for chat in chats]
    step = build(DataSpec(path="x", clean=CleanSpec(**ALL)))
    assert step is not None
    parsed, looked = [], []
    for _ in range(9):
        start = time.process_time()
        rows = [Row(json.loads(line), Notes()) for line in lines]
        middle = time.process_time()
        step(rows)
        parsed.append(middle - start)
        looked.append(time.process_time() - middle)
    assert [row.repairs for row in rows] == [[]] * len(rows)
    assert min(looked) < 6 * min(parsed)


@pytest.mark.parametrize(
    "piece",
    [
        " ",
        "\t \n",
        "`",
        "```\n",
        "~~~ ",
        "<",
        "<p ",
        "<p =",
        "<!--",
        "<a href=",
        "&amp",
        "&#",
        "\x1b]",
        "(",
        "x(",
        "a.",
        "=",
        "Ã",
        "<div>",
        "<b>",
        "<p>",
        "</p>",
        "<a href=x>",
        "<ul><li>",
        "<table><tr>",
        "<pre>",
        "<!-- x -->",
        "<span><p>",
        "</b><div>",
        "\n",
    ],
)
def test_no_long_text_makes_cleaning_slow(piece: str) -> None:
    """What costs the square of the length takes twice as long as that, or more."""
    many = piece * (60_000 // len(piece))
    start = time.process_time()
    for text in (many, f"<b>x</b> \n{many}x"):
        clean(exchange("a", text))
        clean(text)
    assert time.process_time() - start < 2.5
