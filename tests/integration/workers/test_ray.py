"""Preprocessing on a real Ray cluster of two workers: the same dataset, byte for byte."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.spec import DataSpec
from workers.data.dataset import SPLITS, split_path
from workers.data.engine import use_engine
from workers.data.pipeline import preprocess
from workers.data.report.local import LogReport
from workers.failures import DependencyError
from workers.models import load_tokenizer

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="there is no wheel of ray for this platform")
pytestmark = pytest.mark.slow

NUM_ROWS = 17_000
"""So many that there are several files of rows between the two passes."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster with two nodes that work."""
    sizes = {"object_store_memory": 100 << 20}
    head = {"num_cpus": 0, "include_dashboard": False, **sizes}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, **sizes)
        yield cluster.address
    finally:
        cluster.shutdown()


def test_the_dataset_is_the_same_on_a_cluster(tmp_path: Path, tiny_model_dir: Path, cluster: str) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    for start in range(0, NUM_ROWS, NUM_ROWS // 4):
        texts = (f"the quick brown fox {number}" for number in range(start, start + NUM_ROWS // 4))
        (rows / f"{start:06}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    data = {"path": str(rows), "max_length": 64}
    tokenizer = load_tokenizer(tiny_model_dir)
    outcome = preprocess(DataSpec(**data), tokenizer, here, lambda path, key: None, LogReport())
    # A process has one engine, so the other one gets a process of its own.
    job = tmp_path / "job.yaml"
    job.write_text(json.dumps({"name": "job", "base_model": str(tiny_model_dir), "data": {**data, "engine": "ray"}}))
    command = [sys.executable, "-m", "workers.data", str(job), "--output", str(there)]
    environment = os.environ | {"LUTHIER_RAY_ADDRESS": cluster}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["num_rows_read"] == outcome.num_rows == NUM_ROWS
    assert document["dataset_version"] == outcome.version, "where it was made is no part of what it is"
    for name in SPLITS:
        assert split_path(there, name).read_bytes() == split_path(here, name).read_bytes()
    assert not [*tmp_path.glob("rows-*")]


def test_a_node_that_cannot_do_the_work_is_named(tmp_path: Path, cluster: str) -> None:
    with pytest.raises(DependencyError, match=r"node [\d.]+ does not see .*LUTHIER_WORK_DIR"):
        use_engine("ray", cluster, tmp_path / "elsewhere")
