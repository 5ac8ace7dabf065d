"""What is said when there is no Ray cluster to work on."""

import socket
import sys
from pathlib import Path

import pytest

from workers.data.engine import is_distributed, num_side_by_side, ray_cluster, use_engine
from workers.failures import ConfigError, DependencyError


def test_without_an_engine_named_plans_run_here(tmp_path: Path) -> None:
    use_engine("local", "", tmp_path)
    assert not is_distributed()
    assert num_side_by_side() >= 1


def test_without_an_address_the_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set LUTHIER_RAY_ADDRESS"):
        use_engine("ray", "", tmp_path)


def test_without_the_package_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'luthier\[ray\]'"):
        use_engine("ray", "127.0.0.1:6379", tmp_path)


def test_an_address_where_nothing_listens_is_told_soon(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DependencyError, match=f"{address} cannot be used: .*refused.*LUTHIER_RAY_ADDRESS"):
            use_engine("ray", address, tmp_path)
    with pytest.raises(DependencyError, match="not of the form HOST:PORT"):
        use_engine("ray", "cluster", tmp_path)


def test_something_else_that_listens_is_given_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_PROBE_SECONDS", 4.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DependencyError, match=f"{address} (did not answer within 4 s|cannot be used)"):
            use_engine("ray", address, tmp_path)
