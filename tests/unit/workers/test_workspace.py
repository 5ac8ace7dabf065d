import subprocess
import sys
from pathlib import Path

import pytest

from workers.workspace import Workspace, remove_leftovers


def test_a_workspace_is_private_and_goes_away_with_all_that_is_in_it(tmp_path: Path):
    workspace = Workspace(tmp_path / "root", "stage-7")
    workspace.create()
    assert workspace.path.stat().st_mode & 0o777 == 0o700
    (workspace.path / "deep").mkdir()
    (workspace.path / "deep" / "file").write_text("x")
    workspace.remove()
    assert list((tmp_path / "root").iterdir()) == []


def test_two_attempts_never_share_a_workspace(tmp_path: Path):
    Workspace(tmp_path, "stage-7").create()
    with pytest.raises(FileExistsError):
        Workspace(tmp_path, "stage-7").create()


def test_leftovers_go_and_folders_in_use_stay(tmp_path: Path):
    (tmp_path / "abandoned").mkdir()
    (tmp_path / "abandoned" / "file").write_text("x")
    used = Workspace(tmp_path, "used")
    used.create()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["used"]
    used.remove()


def test_a_folder_is_in_use_while_only_the_runner_lives(tmp_path: Path):
    script = (
        "import subprocess, sys; from pathlib import Path; from workers.workspace import Workspace\n"
        "descriptor = Workspace(Path(sys.argv[1]), 'orphan').create()\n"
        "print(subprocess.Popen(['sleep', '60'], pass_fds=[descriptor], stdout=-3, stderr=-3).pid)"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    pid = int(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout)
    remove_leftovers(tmp_path)
    assert (tmp_path / "orphan").is_dir()
    subprocess.run(["kill", "-9", str(pid)], check=True)
    while (tmp_path / "orphan").exists():
        remove_leftovers(tmp_path)


def test_a_root_that_does_not_exist_has_no_leftovers(tmp_path: Path):
    remove_leftovers(tmp_path / "new")
    assert (tmp_path / "new").is_dir()
