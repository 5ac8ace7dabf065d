"""Where plans run: in this process, in several side by side (`fan_out.py`), or on a Ray cluster (`ray_cluster.py`)."""

from workers.data.engine.daft_runner import daft, is_distributed, num_side_by_side, use_engine

__all__ = ["daft", "is_distributed", "num_side_by_side", "use_engine"]
