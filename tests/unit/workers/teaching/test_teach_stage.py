"""A teacher's answers become the dataset: training on them is plain fine-tuning on the same texts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from luthier.v1.stage_pb2 import StageOutputs
from tests.unit.workers.conftest import QUESTIONS
from tests.unit.workers.staged import outputs_of, task_of
from tests.unit.workers.training.tiny_run import Recorder
from workers.data import stage as preprocessing
from workers.data.dataset import load_split
from workers.failures import ConfigError, DataError, PreemptedError
from workers.task import Task
from workers.teaching import questions
from workers.teaching import stage as teaching
from workers.training import stage as training

TRAINING = {"max_steps": 6, "precision": "fp32", "learning_rate": 1e-2, "eval_steps": 3}
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}
Teach = Callable[..., Task]


@pytest.fixture(scope="module")
def teacher_dir(teachable_model_dir: Path, whole_model_dir: Path) -> Path:
    """A model that knows the answers to QUESTIONS; its vocabulary is another one than the student's."""
    folder = teachable_model_dir.parent / "teacher-of-answers"
    shutil.copytree(whole_model_dir / "model", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<strange>"])
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., str]:
    def write(name: str, answers: dict[str, str]) -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in answers.items()))
        return str(path)

    return write


@pytest.fixture
def teach(tmp_path: Path, teachable_model_dir: Path, teacher_dir: Path, write_rows: Callable[..., str]) -> Teach:
    """A function that makes the task of a `teach` stage over rows whose own answers are wrong."""
    wrong = write_rows("wrong.jsonl", dict.fromkeys(QUESTIONS, "nonsense"))
    held_out = write_rows("held_out.jsonl", {"red again": "nonsense", "blue again": "nonsense"})
    prepared: dict[str, StageOutputs] = {}

    def make(fence: int = 1, checkpoints: Any = (), data: dict[str, Any] | None = None, **objective: Any) -> Task:
        job = {
            "data": {"path": wrong, "validation_path": held_out, **WHOLE} if data is None else data,
            "objective": {
                "type": "distillation",
                "level": "sequence",
                "teacher": str(teacher_dir),
                "max_new_tokens": 24,
                **objective,
            },
            "training": TRAINING,
        }
        if "preprocess" not in prepared:
            result = preprocessing.run(task_of("preprocess", tmp_path, teachable_model_dir, {}, **job), Recorder())
            prepared["preprocess"] = outputs_of(result, tmp_path / "data")
        return task_of("teach", tmp_path, teachable_model_dir, prepared, checkpoints, fence, **job)

    return make


def _curve(folder: Path | None) -> list[dict[str, Any]]:
    assert folder is not None
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_training_on_a_teacher_is_fine_tuning_on_its_answers(
    teach: Teach, write_rows: Callable[..., str], teachable_model_dir: Path, tmp_path: Path
) -> None:
    spec = {"path": write_rows("wrong.jsonl", dict.fromkeys(QUESTIONS, "nonsense")), **WHOLE}
    task = teach(data=spec)
    report = Recorder()
    result = teaching.run(task, report)
    assert result.folder is not None
    answers = {row.prompt[-1]["content"]: row.reference for row in load_split(result.folder, "train")}
    assert answers == QUESTIONS
    assert report.etas[-1] == 0.0
    document = result.result
    assert (document["num_prompts"], document["num_answers"]) == (4, 4)
    train = document["splits"]["train"]
    assert (train["num_asked"], train["num_rows"], train["dropped"]) == (4, 4, [])
    inputs = {"teach": outputs_of(result, tmp_path / "taught")}
    job = {"objective": task.spec.objective.model_dump(), "training": TRAINING, "data": spec}
    taught = training.run(task_of("train", tmp_path, teachable_model_dir, inputs, **job), Recorder())
    plain = {"data": {"path": write_rows("right.jsonl", QUESTIONS), **WHOLE}, "training": TRAINING}
    data = preprocessing.run(task_of("preprocess", tmp_path, teachable_model_dir, {}, fence=2, **plain), Recorder())
    inputs = {"preprocess": outputs_of(data, tmp_path / "right")}
    tuned = training.run(task_of("train", tmp_path, teachable_model_dir, inputs, fence=2, **plain), Recorder())
    for ours, theirs in zip(_curve(taught.folder), _curve(tuned.folder), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["samples"] == theirs["samples"]


def test_a_teacher_that_is_interrupted_goes_on_and_says_the_same(
    teach: Teach, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(questions, "_MAX_BATCH_TOKENS", 80)
    settings = {"temperature": 1.5, "num_samples": 3, "seed": 5, "top_k": 8}
    texts = {}

    def said(task: Task, report: Recorder) -> Any:
        result = teaching.run(task, report)
        assert result.folder is not None
        rows = load_split(result.folder, "train")
        return [row.messages for row in rows], result.result

    whole = Recorder()
    texts["whole"] = said(teach(fence=1, **settings), whole)
    num_batches = sum(eta is not None for eta in whole.etas)
    assert num_batches > 4
    interrupted = Recorder(stop=lambda question: question > 4)
    with pytest.raises(PreemptedError, match=r"goes on after \d+ of \d+ answers"):
        teaching.run(teach(fence=2, **settings), interrupted)
    (checkpoint,) = interrupted.checkpoints
    assert checkpoint.step == 3
    resumed = Recorder()
    texts["resumed"] = said(teach(fence=3, checkpoints=[checkpoint], **settings), resumed)
    assert sum(eta is not None for eta in resumed.etas) == num_batches - 3
    assert texts["resumed"] == texts["whole"]
    other = Recorder()
    texts["other"] = said(teach(fence=4, checkpoints=[checkpoint], **{**settings, "seed": 6}), other)
    assert sum(eta is not None for eta in other.etas) == num_batches, "answers to other questions are not looked at"
    assert texts["other"] != texts["whole"]
    document = texts["whole"][1]["splits"]
    for name, num_asked in (("train", 12), ("validation", 2)):
        split = document[name]
        assert split["num_asked"] == num_asked
        assert split["num_asked"] == split["num_rows"] + sum(entry["count"] for entry in split["dropped"])


def test_a_damaged_checkpoint_is_left_alone(teach: Teach, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "_MAX_BATCH_TOKENS", 80)
    interrupted = Recorder(stop=lambda question: question > 3)
    with pytest.raises(PreemptedError):
        teaching.run(teach(), interrupted)
    (checkpoint,) = interrupted.checkpoints
    (Path(checkpoint.uri) / "answers.json").write_text("[]")
    result = teaching.run(teach(fence=2, checkpoints=[checkpoint]), Recorder())
    assert result.metrics["num_answers"] == 6


def test_answers_that_do_not_end_leave_nothing_to_learn(teach: Teach) -> None:
    with pytest.raises(DataError, match=r"no answer of objective.teacher is left.*the teacher's answer was cut off"):
        teaching.run(teach(max_new_tokens=1), Recorder())


def _encoder(folder: Path, student: Path) -> None:
    shutil.copytree(student, folder)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertForMaskedLM(BertConfig(vocab_size=600, **size)).save_pretrained(folder)


def _classifier(folder: Path, student: Path) -> None:
    shutil.copytree(student, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForSequenceClassification"]}))


def _mute(folder: Path, student: Path) -> None:
    shutil.copytree(student, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)


def _same(folder: Path, student: Path) -> None:
    folder.symlink_to(student)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_encoder, "BertForMaskedLM.* encoder"),
        (_classifier, r"writes no text \(LlamaForSequenceClassification\)"),
        (_mute, "has no chat template"),
        (_same, "is base_model itself"),
    ],
)
def test_who_cannot_teach_is_refused_before_anything_is_tokenised(
    make: Callable[[Path, Path], None], words: str, teach: Teach, teachable_model_dir: Path, tmp_path: Path
) -> None:
    teacher = teachable_model_dir.parent / f"no-teacher-{tmp_path.name}"
    make(teacher, teachable_model_dir)
    with pytest.raises(ConfigError, match=words):
        teach(teacher=str(teacher))
