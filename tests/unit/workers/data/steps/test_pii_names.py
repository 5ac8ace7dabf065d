"""Names of people, as a real token classifier marks them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.workers.data.steps.tiny_classifiers import make_judge, make_tagger
from workers.data.dataset import load_split
from workers.failures import ConfigError

Run = Callable[..., Any]
Write = Callable[..., Path]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0, "max_length": 4096}


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tagger(tmp_path_factory.mktemp("tagger"), ["jane", "doe"])


def _settings(folder: Path) -> dict[str, Any]:
    return {"pii": {"action": "redact", "names": "model", "names_model": str(folder)}, **WHOLE}


def test_names_are_redacted_with_the_rest_wherever_they_stand(write_rows: Write, run: Run, tagger: Path) -> None:
    rows = [
        {"prompt": "ask Jane for it", "completion": '{"who": "Doe", "n": 7}'},
        {"prompt": "plain", "completion": "nobody"},
        {"prompt": "word " * 300 + "Jane", "completion": "doe@example.com 12"},
    ]
    folder, outcome = run(write_rows(rows), **_settings(tagger))
    first, plain, long = load_split(folder, "train")
    assert (first.prompt[0]["content"], first.reference) == ("ask <NAME> for it", '{"who": "<NAME>", "n": 7}')
    assert (plain.prompt[0]["content"], plain.reference) == ("plain", "nobody")
    assert long.prompt[0]["content"] == "word " * 300 + "<NAME>"
    assert long.reference == "<EMAIL> 12"
    assert outcome.repairs.counts == {"name redacted": 2, "email redacted": 1}


def test_a_model_that_cannot_mark_people_is_refused_with_what_to_give(
    write_rows: Write, run: Run, tagger: Path, tmp_path: Path
) -> None:
    path = write_rows([{"prompt": "a", "completion": "b"}])
    places = make_tagger(tmp_path / "places", ["rome"], labels=("O", "B-LOC"))
    judge = make_judge(tmp_path / "judge", ["bad"])
    code = make_tagger(tmp_path / "code", ["jane"])
    config = json.loads((code / "config.json").read_text())
    (code / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "model.py"}}))
    pickle = make_tagger(tmp_path / "pickle", ["jane"])
    (pickle / "model.safetensors").rename(pickle / "pytorch_model.bin")
    for folder, message in (
        (tmp_path / "nowhere", r"data\.pii\.names_model '.*nowhere' has no config\.json; give a folder"),
        (places, r"marks LOC, O, but no PER or PERSON; give a model that does"),
        (judge, r"has no weights for classifier|so it is no trained classifier|no PER or PERSON"),
        (code, r"needs code of its own .*which is never run here"),
        (pickle, r"has pickle weights only .*safetensors"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(path, **_settings(folder))
