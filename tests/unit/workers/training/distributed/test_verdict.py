"""How ranks end: what is the cause and what only follows from it, and what the runner reads of it."""

from pathlib import Path

import pytest

from luthier.settings import ranks_environment
from workers.failures import ConfigError
from workers.task import StageResult
from workers.training.distributed.rank import is_lost_rank
from workers.training.distributed.verdict import folder_of, read_result, write_result


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:3721"), True),
        (RuntimeError("NCCL error: remote process exited or there was a network error"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ConfigError("the gloo of our fathers"), False),
        (OSError("connection reset"), False),
    ],
)
def test_that_another_rank_is_gone_is_not_the_cause(error: Exception, is_lost: bool) -> None:
    assert is_lost_rank(error) is is_lost


@pytest.mark.parametrize("folder", [None, Path("/somewhere/output")])
def test_the_runner_reads_what_rank_0_came_to(tmp_path: Path, folder: Path | None) -> None:
    folder_of(tmp_path, 0).mkdir(parents=True)
    assert read_result(tmp_path) is None
    result = StageResult(folder=folder, metrics={"loss": 0.5}, result={"a": [1]}, gate_passed=False, gate_reason="no")
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result


@pytest.mark.parametrize(("given", "num_ranks", "expected"), [(None, 2, "4"), ("6", 2, "3"), ("1", 4, "1")])
def test_ranks_share_the_threads(
    monkeypatch: pytest.MonkeyPatch, given: str | None, num_ranks: int, expected: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    environment = ranks_environment(num_ranks, num_cpus=8)
    assert environment["OMP_NUM_THREADS"] == expected
    assert environment["GLOO_SOCKET_IFNAME"] == "lo"
