"""`data.augment` by a model: what it says becomes a row only if it can be one; a real endpoint answers."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from luthier.spec import ClassificationSpec, DataSpec
from tests.unit.workers.data.augment.conftest import Endpoint, between_lines, reworded
from tests.unit.workers.data.conftest import Recorder
from workers.data.augment import Writers
from workers.data.augment.endpoint_writer import EndpointWriter
from workers.data.dataset import Split, load_split
from workers.data.outcome import Outcome
from workers.data.pipeline import preprocess

Write = Callable[..., Path]
Ask = Callable[..., tuple[Path, Outcome]]
CHATS = [{"prompt": f"where is my parcel number {i}", "completion": f"on its way {i}"} for i in range(6)]


@pytest.fixture
def ask(tmp_path: Path, tokenizer: Any, recorder: Recorder, endpoint: Endpoint) -> Ask:
    """A function that runs the pipeline with rows written by the endpoint, all of them training rows."""

    def run(path: Path, augment: dict[str, Any], objective: Any = None, **writer: Any) -> tuple[Path, Outcome]:
        folder = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        folder.mkdir()
        settings = {"model": "some-model", "endpoint": endpoint.url, **writer}
        data = {"path": str(path), "validation_fraction": 0.0, "test_fraction": 0.0}
        spec = DataSpec.model_validate({**data, "augment": {"writer": settings, **augment}})
        writers = Writers(
            lambda asked: EndpointWriter(asked, SecretStr("the-key"), first_pause_seconds=0.01),
            replies=tmp_path / "replies.sqlite",
        )
        args = () if objective is None else (objective,)
        outcome = preprocess(spec, tokenizer, folder, lambda path, key: None, recorder, *args, writers=writers)
        return folder, outcome

    return run


def _made(folder: Path) -> list[Any]:
    rows: Split = load_split(folder, "train")
    return [row for row in rows if row.augmented]


def test_paraphrases_of_questions(write_rows: Write, ask: Ask, endpoint: Endpoint, recorder: Recorder) -> None:
    folder, outcome = ask(write_rows(CHATS), {"min_samples": 10, "methods": ["paraphrase"]})
    made = _made(folder)
    assert Counter(row.augmented for row in made) == {"paraphrase": 4}
    for row in made:
        number = row.row - 1
        assert row.prompt[-1]["content"] == f"In other words, kindly: where is my parcel number {number}"
        assert row.reference == f"on its way {number}"
    assert set(endpoint.paths) == {"/v1/chat/completions"}
    assert {headers["Authorization"] for headers in endpoint.headers} == {"Bearer the-key"}
    assert {body["model"] for body in endpoint.bodies} == {"some-model"}
    assert len({body["seed"] for body in endpoint.bodies}) == 4
    assert outcome.augmentation.document()["writer"] == {"num_requests": 4, "num_tokens": 40, "num_remembered": 0}
    assert any("a model writes rows" in message for _, _, message in recorder.steps)


def test_what_was_answered_once_is_not_asked_again(write_rows: Write, ask: Ask, endpoint: Endpoint) -> None:
    path = write_rows(CHATS)
    first, _ = ask(path, {"min_samples": 10, "methods": ["paraphrase"]})
    again, outcome = ask(path, {"min_samples": 10, "methods": ["paraphrase"]})
    assert [row.messages for row in _made(first)] == [row.messages for row in _made(again)]
    assert len(endpoint.bodies) == 4
    assert outcome.augmentation.document()["writer"] == {"num_requests": 4, "num_tokens": 40, "num_remembered": 4}
    ask(path, {"min_samples": 10, "methods": ["paraphrase"]}, temperature=0.1)
    assert len(endpoint.bodies) == 8


def test_back_translation_goes_through_the_other_language(write_rows: Write, ask: Ask, endpoint: Endpoint) -> None:
    def answer(body: dict[str, Any]) -> str:
        prompt = body["messages"][0]["content"]
        text = between_lines(prompt)
        return f"AUF DEUTSCH {text}" if "into French" in prompt else text.replace("AUF DEUTSCH", "tell me")

    endpoint.answer = answer
    augment = {"min_samples": 8, "methods": ["back_translation"], "pivot_language": "French"}
    folder, _ = ask(write_rows(CHATS), augment)
    assert {row.prompt[-1]["content"] for row in _made(folder)} < {
        f"tell me where is my parcel number {i}" for i in range(6)
    }
    assert len(endpoint.bodies) == 4
    back = [body["messages"][0]["content"] for body in endpoint.bodies if "into French" not in str(body["messages"])]
    assert all("where is my parcel" in prompt.split("---")[0] for prompt in back), "an example of the language"


def test_synthetic_rows_are_of_the_class_of_their_examples(write_rows: Write, ask: Ask, endpoint: Endpoint) -> None:
    rows = [{"text": f"{label} message {i}", "label": label} for label in ("bill", "login") for i in range(6)]

    def answer(body: dict[str, Any]) -> str:
        prompt = body["messages"][0]["content"]
        label = "bill" if "class 'bill'" in prompt else "login"
        other = "login" if label == "bill" else "bill"
        assert f"{label} message" in prompt
        assert f"{other} message" not in prompt
        fields = json.dumps({"text": f"brand new {label} text {body['seed']}"})
        return f"Sure, here it is:\n```json\n{fields}\n```"

    endpoint.answer = answer
    classes = ClassificationSpec(type="classification", labels=["bill", "login"])
    folder, _ = ask(write_rows(rows), {"min_samples": 20, "methods": ["synthetic"]}, classes)
    made = _made(folder)
    assert len(made) == 8
    assert {row.label for row in made} == {"bill", "login"}


def test_synthetic_rows_are_of_the_whole_set_of_classes(
    write_rows: Write, ask: Ask, endpoint: Endpoint, tokenizer: Any
) -> None:
    sets = {"both": ["bill", "login"], "single": ["bill"], "none": []}
    said = {
        "both": "of all of the classes 'bill' and 'login', and of no other",
        "single": "of the class 'bill' alone",
        "none": "of none of the classes that other examples have",
    }
    rows = [{"text": f"{name} message {i}", "labels": labels} for name, labels in sets.items() for i in range(4)]

    def answer(body: dict[str, Any]) -> str:
        prompt = body["messages"][0]["content"]
        (name,) = (name for name in sets if f"{name} message" in prompt)
        assert said[name] in prompt
        return json.dumps({"text": f"brand new {name} text {body['seed']}"})

    endpoint.answer = answer
    classes = ClassificationSpec(type="classification", multi_label=True)
    folder, _ = ask(write_rows(rows), {"min_samples": 24, "methods": ["synthetic"]}, classes)
    made = _made(folder)
    assert {row.labels for row in made} == {("bill", "login"), ("bill",), ()}
    assert all(one.labels == tuple(sets[tokenizer.decode(one.input_ids).split()[2]]) for one in made)


def test_synthetic_chats_keep_their_system_message(write_rows: Write, ask: Ask, endpoint: Endpoint) -> None:
    system = {"role": "system", "content": "You are the help desk."}
    rows = [
        {"messages": [system, {"role": "user", "content": f"ask {i}"}, {"role": "assistant", "content": f"say {i}"}]}
        for i in range(4)
    ]
    endpoint.answer = lambda body: json.dumps({"prompt": f"new {body['seed']}", "completion": "answer"})
    folder, _ = ask(write_rows(rows), {"min_samples": 6, "methods": ["synthetic"]})
    made = _made(folder)
    assert len(made) == 2
    for row in made:
        assert row.messages[0] == system
        assert [message["role"] for message in row.messages] == ["system", "user", "assistant"]
        assert row.reference == "answer"


@pytest.mark.parametrize(
    ("method", "answer", "reason"),
    [
        ("paraphrase", lambda prompt: "", "the model said nothing"),
        ("paraphrase", lambda prompt: "---\n---", "the model said nothing"),
        ("paraphrase", lambda prompt: "so be it " * 200, "far shorter or longer than what it was made of"),
        ("paraphrase", lambda prompt: between_lines(prompt).replace("dear", "DEAR,") + "!", "equal to a row"),
        ("paraphrase", lambda prompt: reworded(prompt).replace("{name}", "Jane"), "what must stay is lost"),
        ("paraphrase", lambda prompt: "why {name} and `code`, always the same", "equal to a row"),
        ("paraphrase", lambda prompt: reworded(prompt) + " \ud800", "not in the shape that was asked for"),
        ("synthetic", lambda prompt: '{"prompt": "\\ud800", "completion": "b"}', "not in the shape that was asked for"),
        ("synthetic", lambda prompt: "I would rather not.", "not in the shape that was asked for"),
        ("synthetic", lambda prompt: '{"prompt": "only this"}', "not in the shape that was asked for"),
        ("synthetic", lambda prompt: '{"prompt": 1, "completion": []}', "not in the shape that was asked for"),
        ("synthetic", lambda prompt: '{"prompt": "a", "completion": "' + "b" * 3000 + '"}', "far shorter or longer"),
    ],
)
def test_what_can_be_no_row_is_refused_and_counted(
    write_rows: Write, ask: Ask, endpoint: Endpoint, method: str, answer: Any, reason: str
) -> None:
    rows = [{"prompt": f"dear {{name}} run `code` on {i}", "completion": "done as you asked"} for i in range(4)]
    endpoint.answer = lambda body: answer(body["messages"][0]["content"])
    folder, outcome = ask(write_rows(rows), {"min_samples": 8, "methods": [method], "max_copies": 1})
    refused = outcome.augmentation.refused
    assert sum(count for name, count in refused.counts.items() if name.startswith(reason)) >= 3
    assert len(_made(folder)) + refused.counts.total() == 4
    assert all(fault.detail.startswith(f"{method}: ") for faults in refused.first.values() for fault in faults)


def test_an_answer_that_was_cut_off_is_no_row(write_rows: Write, ask: Ask, endpoint: Endpoint) -> None:
    endpoint.finish_reason = "length"
    _, outcome = ask(write_rows(CHATS), {"min_samples": 8, "methods": ["paraphrase"], "max_copies": 1})
    assert outcome.augmentation.refused.counts == {"the model's answer was cut off": 6}


@pytest.mark.parametrize(
    ("limits", "num_requests"), [({"max_requests": 5}, 5), ({"max_total_tokens": 100}, 16), ({"max_requests": 1}, 1)]
)
def test_a_budget_is_kept(
    write_rows: Write, ask: Ask, endpoint: Endpoint, limits: dict[str, int], num_requests: int
) -> None:
    rows = [{"prompt": f"where is my parcel number {i}", "completion": f"on its way {i}"} for i in range(20)]
    folder, outcome = ask(write_rows(rows), {"min_samples": 100, "methods": ["paraphrase"]}, **limits)
    assert len(endpoint.bodies) == len(_made(folder)) == num_requests
    over = outcome.augmentation.refused.counts["over the budget of data.augment.writer"]
    assert over == 20 * 4 - num_requests


def test_a_method_that_costs_nothing_fills_what_the_budget_leaves(write_rows: Write, ask: Ask) -> None:
    augment = {"min_samples": 12, "methods": ["paraphrase", "typos"]}
    folder, outcome = ask(write_rows(CHATS), augment, max_requests=1)
    assert Counter(row.augmented for row in _made(folder)) == {"paraphrase": 1, "typos": 5}
    assert outcome.augmentation.num_added == 6
