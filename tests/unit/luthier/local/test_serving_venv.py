"""Where Triton cannot run, the reason is told; where it can, its environment is made whole or not at all."""

import subprocess
from pathlib import Path

import pytest

from luthier.local import serving_venv
from luthier.local.serving_venv import ServingUnavailableError, ensure_serving_venv

ELSEWHERE = [
    "numpy==1.26.4; extra == 'serving'",
    "nvidia-pytriton==0.7.0; sys_platform == 'none' and extra == 'serving'",
]


def test_platform_without_a_wheel_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serving_venv, "requires", lambda _: ELSEWHERE)
    with pytest.raises(ServingUnavailableError, match=r"no Triton wheel for .*Set LUTHIER_TRITON_URL"):
        ensure_serving_venv(tmp_path / "serving", print)


def test_failed_install_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(command, 1, "", "trying\nERROR: no matching distribution\n")

    monkeypatch.setattr(serving_venv.subprocess, "run", refuse)
    said: list[str] = []
    with pytest.raises(ServingUnavailableError, match=r"numpy==1\.26\.4.*: ERROR: no matching distribution"):
        ensure_serving_venv(tmp_path / "serving", said.append)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    assert said == [f"making the serving environment in {tmp_path / 'serving'} (once)"]
