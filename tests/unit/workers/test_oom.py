from pathlib import Path

import pytest

from workers.oom import OomWatch, kernel_counters


@pytest.fixture
def counters(tmp_path: Path) -> list[Path]:
    """Fake files in the kernel's two formats."""
    vmstat, group = tmp_path / "vmstat", tmp_path / "memory.events"
    vmstat.write_text("pgfault 17\noom_kill 3\ndrop_pagecache 0\n")
    group.write_text("low 0\noom 1\noom_kill 1\noom_group_kill 0\n")
    return [vmstat, group]


@pytest.mark.parametrize("number", [0, 1])
def test_one_counter_that_rose_is_evidence(counters, number):
    watch = OomWatch(counters)
    assert watch.has_killed() is False
    counters[number].write_text("oom_kill 4\n")
    assert watch.has_killed() is True


def test_a_counter_that_appears_or_vanishes_is_none(counters, tmp_path):
    watch = OomWatch([*counters, tmp_path / "later"])
    (tmp_path / "later").write_text("oom_kill 9\n")
    counters[0].unlink()
    assert watch.has_killed() is False


def test_without_any_counter_nobody_can_say(tmp_path):
    (tmp_path / "old").write_text("pgfault 17\n")
    assert OomWatch([tmp_path / "missing", tmp_path / "old"]).has_killed() is None


def test_the_counters_of_our_own_group_are_found_for_both_versions(tmp_path):
    groups = tmp_path / "cgroup"
    groups.write_text("9:cpu,memory:/box/7\n1:name=systemd:/\n0::/slice/unit\n")
    found = kernel_counters(tmp_path / "vmstat", groups, tmp_path)
    assert tmp_path / "vmstat" in found
    assert tmp_path / "memory/box/7/memory.oom_control" in found
    assert tmp_path / "slice/unit/memory.events" in found


def test_this_kernel_shows_at_least_one_counter():
    assert OomWatch(kernel_counters()).has_killed() is not None
