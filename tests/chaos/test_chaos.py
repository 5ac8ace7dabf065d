"""The smoke of chaos: half a minute of seeded faults on a whole platform, then quiet, then every invariant.

The long run is `make chaos SECONDS=1800 SEED=7`.
"""

from pathlib import Path

import pytest

from tests.chaos.campaign import Plan, run
from tests.chaos.cluster import Shape

SEED = 20261122


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nothing_is_lost_and_nothing_is_doubled(tiny_model_dir: Path) -> None:
    plan = Plan(seed=SEED, seconds=30.0, mean_gap_seconds=1.0, num_open=4, shape=Shape(clock_seed=SEED))
    report = await run(plan, tiny_model_dir)
    report.show()
    assert report.violations == [], plan.explain()
    assert (report.num_lost, report.num_doubled) == (0, 0), plan.explain()
    assert report.num_kills > 0
