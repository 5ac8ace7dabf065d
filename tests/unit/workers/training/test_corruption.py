"""A checkpoint with any fault is reported and passed over for the one before; none ever ends the attempt."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.artifacts import publish
from luthier.v1.stage_pb2 import Checkpoint
from tests.unit.workers.training.tiny_run import KEY, Recorder, make_engine, make_store
from workers.training.pieces import Stored
from workers.training.snapshot import Snapshot

FILES = (
    "weights.0.safetensors",
    "optimizer.0.safetensors",
    "rng.safetensors",
    "control.safetensors",
    "step.safetensors",
    "progress.json",
    "manifest.json",
)


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Checkpoint]]:
    """A run with checkpoints of the steps 1 and 2, newest first."""
    folder, report = tmp_path_factory.mktemp("run"), Recorder()
    make_engine(folder, report, max_steps=2, eval_steps=1)[0].run()
    return folder, report.checkpoints


@pytest.fixture
def copied(committed: tuple[Path, list[Checkpoint]], tmp_path: Path) -> list[Checkpoint]:
    """The same, to be spoiled."""
    folder, checkpoints = committed
    shutil.copytree(folder, tmp_path / "run")
    return [
        Checkpoint(uri=one.uri.replace(str(folder), str(tmp_path / "run")), digest=one.digest, step=one.step)
        for one in checkpoints
    ]


def load(checkpoints: list[Checkpoint], tmp_path: Path) -> Snapshot[Stored] | None:
    return make_store(tmp_path / "later", Recorder(), earlier=checkpoints, fence=2).load_newest()


def check_passed_over(checkpoints: list[Checkpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded = load(checkpoints, tmp_path)
    assert loaded is not None
    assert loaded.progress.step == 1
    assert "checkpoint of step 2 is not usable" in caplog.text


def test_intact_the_newest_is_used(copied: list[Checkpoint], tmp_path: Path) -> None:
    loaded = load(copied, tmp_path)
    assert loaded is not None
    assert loaded.progress.step == 2
    assert sorted(path.name for path in Path(copied[0].uri).iterdir()) == sorted(FILES)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("fault", [_truncate, _empty, Path.unlink, _replace_by_folder])
@pytest.mark.parametrize("name", FILES)
def test_a_torn_file_is_noticed(
    copied: list[Checkpoint],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    fault: Callable[[Path], None],
) -> None:
    fault(Path(copied[0].uri) / name)
    check_passed_over(copied, tmp_path, caplog)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_noticed_or_means_nothing(
    copied: list[Checkpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Only a bit in the white space of the manifest may mean nothing: then what is read is what was written."""
    path = Path(copied[0].uri) / name
    whole = path.read_bytes()
    places = random.Random(0).sample(range(8 * len(whole)), 150 if name == "manifest.json" else 6)
    intact = load(copied, tmp_path)
    assert intact is not None
    for place in places:
        spoilt = bytearray(whole)
        spoilt[place // 8] ^= 1 << place % 8
        path.write_bytes(spoilt)
        caplog.clear()
        if name == "manifest.json" and (loaded := load(copied, tmp_path)) and loaded.progress.step == 2:
            assert loaded.progress == intact.progress
        else:
            check_passed_over(copied, tmp_path, caplog)


def test_a_checkpoint_that_is_gone_is_noticed(
    copied: list[Checkpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(copied[0].uri)
    check_passed_over(copied, tmp_path, caplog)


def test_another_one_in_its_place_is_noticed(
    copied: list[Checkpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is whole and signed, but not what the coordinator recorded."""
    shutil.rmtree(copied[0].uri)
    shutil.copytree(copied[1].uri, copied[0].uri)
    check_passed_over(copied, tmp_path, caplog)


def _sign_again(checkpoint: Checkpoint, key: bytes, **extra: object) -> None:
    """Publishes what is there now under the same name."""
    folder = Path(checkpoint.uri)
    described = json.loads((folder / "manifest.json").read_text())["extra"]
    (folder / "manifest.json").unlink()
    shutil.copytree(folder, folder.with_name("again"))
    shutil.rmtree(folder)
    checkpoint.digest = publish(folder.with_name("again"), checkpoint.uri, extra={**described, **extra}, key=key).digest


def test_a_foreign_key_is_noticed(copied: list[Checkpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _sign_again(copied[0], b"somebody else's")
    check_passed_over(copied, tmp_path, caplog)
    assert "not signed by this installation" in caplog.text


def test_a_foreign_loop_is_noticed(copied: list[Checkpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _sign_again(copied[0], KEY, environment={"colour": "red"})
    check_passed_over(copied, tmp_path, caplog)
    assert "does not hold the state of a training run" in caplog.text


NONSENSE = {
    "no JSON": ("progress.json", b"{"),
    "no object": ("progress.json", b"[]"),
    "other fields": ("progress.json", b'{"best": null, "colour": 1}'),
    "no fields": ("progress.json", b"{}"),
    "no text": ("progress.json", b"\xff\xfe"),
    "no tensors": ("weights.0.safetensors", b"not safetensors"),
    "a huge header": ("optimizer.0.safetensors", b"\xff" * 64),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_with_a_right_hash_is_noticed(
    copied: list[Checkpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    name, content = NONSENSE[what]
    (Path(copied[0].uri) / name).write_bytes(content)
    _sign_again(copied[0], KEY)
    check_passed_over(copied, tmp_path, caplog)
    assert "does not hold the state of a training run" in caplog.text


class Listener(Recorder):
    """Remembers what is said of the progress."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        self.said.append(message)


def test_with_every_one_spoilt_it_starts_anew_and_says_so(copied, tmp_path, caplog):
    for checkpoint in copied:
        _truncate(Path(checkpoint.uri) / "weights.0.safetensors")
    report = Listener()
    assert make_store(tmp_path / "later", report, earlier=copied, fence=2).load_newest() is None
    assert report.said == ["no checkpoint of an earlier attempt is usable, the worker's log says why: beginning again"]
    assert "none of 2 checkpoints of earlier attempts is usable: the run begins again" in caplog.text


def test_a_first_attempt_has_nothing_to_say(tmp_path):
    report = Listener()
    assert make_store(tmp_path, report).load_newest() is None
    assert report.said == []
