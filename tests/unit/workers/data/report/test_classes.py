"""Classes and sets of classes on the pages of a report, and a bare file that has them."""

import json

import pytest

from luthier.spec import ClassificationSpec, DataSpec, DpoSpec, KtoSpec, SftSpec
from workers.data.pipeline import preprocess
from workers.data.report import write_report
from workers.data.report.bare import objective_of

SETS = ClassificationSpec(type="classification", multi_label=True)
ONE, DPO, KTO = ClassificationSpec(type="classification"), DpoSpec(type="dpo"), KtoSpec(type="kto")
USER, ANSWER = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}


def test_both_pages_show_classes_and_sets(write_rows, run, tokenizer):
    sets = [["late", "<b>"], ["late"], [], ["late"]]
    path = write_rows([{"text": f"text {n}", "labels": labels} for n, labels in enumerate(sets)])
    folder, outcome = run(path, objective=SETS, validation_fraction=0.0, test_fraction=0.0)
    write_report(outcome, DataSpec(path=str(path)), tokenizer, folder)
    page, web = ((folder / f"report.{kind}").read_text() for kind in ("md", "html"))
    assert "| late | 3 | 75.0% |" in page
    assert "1 of 4 rows are of none. Sets: 3, the most frequent ones:" in page
    assert "| (none) | 1 |" in page
    assert "<h3>Sets of classes</h3>" in web
    assert "<td>&lt;b&gt;, late</td>" in web
    assert "<td>(none)</td>" in web


def test_of_single_labels_no_sets_are_told(write_rows, run, tokenizer):
    path = write_rows([{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(6)])
    folder, outcome = run(path, objective=ClassificationSpec(type="classification"))
    document = write_report(outcome, DataSpec(path=str(path)), tokenizer, folder)
    assert document["quality"]["labels"]["sets"] is None
    assert "| a | 3 | 50.0% |" in (folder / "report.md").read_text()
    assert "Sets of classes" not in (folder / "report.html").read_text()


def test_labelled_rows_are_said_to_be_trained_on_and_no_masked_tokens(write_rows, recorder, tokenizer):
    paths = [
        write_rows([{"text": f"text {n} {i}", "label": "ab"[n % 2]} for n in range(9)], f"{i}.jsonl") for i in (0, 1)
    ]
    sources = [{"name": path.stem, "path": str(path)} for path in paths]
    folder = paths[0].parent / "artifact"
    folder.mkdir()
    spec = DataSpec(sources=sources)
    outcome = preprocess(spec, tokenizer, folder, lambda path, key: None, recorder, ONE)
    document = write_report(outcome, spec, tokenizer, folder)
    train = document["splits"]["train"]
    assert (document["trained_on"], train["num_trainable_tokens"]) == ("labels", 0)
    page, web = ((folder / f"report.{kind}").read_text() for kind in ("md", "html"))
    assert f"| train | {train['num_rows']} | {train['num_tokens']} | {train['lengths']['p50']} |" in page
    assert "| split | labelled rows | tokens attended to | p50 |" in page
    assert "the loss counts its label" in page
    assert f"labelled rows to train on</span><b>{train['num_rows']}</b>" in web
    for words in ("masked", "trained on |", "tokens to train on"):
        assert (words in page, words in web) == (False, False)


@pytest.mark.parametrize(
    ("row", "objective"),
    [
        ({"text": "a", "labels": ["x"]}, SETS),
        ({"text": "a", "labels": []}, SETS),
        ({"messages": [USER], "labels": ["x"]}, SETS),
        ({"messages": [USER, ANSWER], "labels": ["x"]}, SftSpec()),
        ({"text": "a", "labels": [0, 5]}, SftSpec()),
        ({"text": "a", "labels": "x"}, SftSpec()),
        ({"text": "a", "labels": None}, SftSpec()),
        ({"text": "a", "label": "x"}, ONE),
        ({"text": "a", "label": 3}, ONE),
        ({"text": "a", "label": ["x"]}, SETS),
        ({"text": "a", "label": 0.5}, SftSpec()),
        ({"messages": [USER], "label": "x"}, ONE),
        ({"messages": [USER, ANSWER], "label": "x"}, SftSpec()),
        ({"messages": [USER, ANSWER], "label": True}, KTO),
        ({"prompt": "a", "completion": "b", "label": False}, KTO),
        ({"prompt": "a", "completion": "b", "label": "x"}, SftSpec()),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, DPO),
        ({"prompt": "a", "chosen": "b"}, SftSpec()),
        ({"prompt": "a", "completions": ["b"], "labels": [True]}, KTO),
        ({"prompt": "a", "chosen": "b", "rejected": None}, DPO),
        ({"chosen": [USER, ANSWER], "rejected": [ANSWER]}, DPO),
        ([1], SftSpec()),
    ],
)
def test_the_first_row_of_a_bare_file_says_what_it_is_for(write_rows, row, objective):
    assert objective_of(write_rows([row])) == objective


def test_what_cannot_be_read_decides_nothing(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{broken\n" + json.dumps({"text": "a", "labels": ["x"]}) + "\n")
    assert objective_of(tmp_path) == SftSpec()
    (tmp_path / "rows.csv").write_text('text,labels\na,"[""x"", ""y""]"\n')
    assert objective_of(tmp_path / "rows.csv") == SETS
