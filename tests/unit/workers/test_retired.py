from pathlib import Path

import pytest

from luthier.artifacts import publish
from workers.retired import remove_retired


@pytest.fixture
def checkpoint(tmp_path: Path):
    """A function that publishes a small artifact at a path below the store."""

    def make(name: str) -> str:
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "state.json").write_text("{}")
        return publish(tmp_path / "new", str(tmp_path / "store" / name)).uri

    return make


async def test_checkpoints_of_this_attempt_and_of_earlier_ones_are_removed(checkpoint, tmp_path):
    mine, earlier, kept = (checkpoint(f"job/train/{name}") for name in ("2-9/c/20.9", "1-7/c/10.7", "2-9/c/30.9"))
    await remove_retired([mine, earlier], str(tmp_path / "store/job/train/2-9"))
    assert [path.name for path in sorted((tmp_path / "store").rglob("*.*"))] == ["30.9", "manifest.json", "state.json"]
    assert kept.endswith("30.9")


@pytest.mark.parametrize(
    "uri", ["job/evaluate/1-8/output", "job/train", "job/train/", "job/train/../evaluate/1-8/output", "job/train2/x"]
)
async def test_what_does_not_belong_to_the_stage_stays(checkpoint, tmp_path, caplog, uri):
    foreign = [Path(checkpoint(name)) for name in ("job/evaluate/1-8/output", "job/train2/x", "job/train/1-7/c")]
    await remove_retired([f"{tmp_path}/store/{uri}"], str(tmp_path / "store/job/train/2-9"))
    assert all(path.exists() for path in foreign)
    assert "it stays" in caplog.text


async def test_what_cannot_be_removed_is_logged_and_holds_up_nothing(checkpoint, tmp_path, caplog, monkeypatch):
    def fail(uri: str) -> None:
        raise PermissionError(13, "Permission denied", uri)

    monkeypatch.setattr("workers.retired.delete", fail)
    uri = checkpoint("job/train/1-7/c/10.7")
    await remove_retired([uri], str(tmp_path / "store/job/train/2-9"))
    assert "Permission denied" in caplog.text


async def test_what_is_gone_already_is_no_matter(tmp_path, caplog):
    await remove_retired([str(tmp_path / "store/job/train/1-7/c/10.7")], str(tmp_path / "store/job/train/2-9"))
    assert caplog.text == ""
