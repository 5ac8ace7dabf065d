"""Cleaning does not trim or join the segments of a text, whose edges are in the middle of it."""

import pytest

from workers.data.dataset import load_split

# Two rows, because a file of a single object that holds a list would be a document.
ALL = {"validation_fraction": 0.0, "test_fraction": 0.0}
EVERYTHING = {"encoding": True, "control": True, "markup": True, "white_space": True}


@pytest.mark.parametrize(
    "texts",
    [
        ("Question: \n", "  answer  \n", "\n\nNext: ", "\tagain \n\n\n"),
        ("a \n\n", "\n\n\nb", " ", "c"),
        ("one\r", "\ntwo\r\n", "   ", "three\u2028"),
        ("<b>bold ", " still</b> ", "<p>\n", "</p>\n "),
        ("\n", "\n", "\n", "end"),
    ],
)
def test_white_space_at_the_edges_of_segments_stays(write_rows, run, tokenizer, texts):
    row = {"segments": [{"label": place % 2 == 1, "text": text} for place, text in enumerate(texts)]}
    folder, outcome = run(write_rows([row, row]), clean=EVERYTHING, **ALL)
    (example,) = load_split(folder, "train")
    assert tokenizer.decode(example.input_ids, skip_special_tokens=False) == "".join(texts)
    trained = "".join(text for place, text in enumerate(texts) if place % 2)
    assert tokenizer.decode(example.input_ids[example.trainable], skip_special_tokens=False) == trained
    assert not outcome.repairs.counts


def test_what_is_mended_within_a_segment_leaves_its_edges(write_rows, run, tokenizer):
    row = {
        "segments": [{"label": False, "text": " caf\u00c3\u00a9\x00 \n"}, {"label": True, "text": " \x07ok  "}],
    }
    folder, outcome = run(write_rows([row, row]), clean=EVERYTHING, **ALL)
    (example,) = load_split(folder, "train")
    assert tokenizer.decode(example.input_ids, skip_special_tokens=False) == " café \n ok  "
    assert outcome.repairs.counts == {"mojibake": 2, "control characters": 2}


def test_a_text_of_its_own_is_still_trimmed(write_rows, run, tokenizer):
    folder, _ = run(write_rows([{"text": "\n a line  \n\n\n\nb \n"}]), clean=EVERYTHING, **ALL)
    (example,) = load_split(folder, "train")
    assert tokenizer.decode(example.input_ids, skip_special_tokens=True) == " a line\n\nb"
