"""Whether the kernel has killed something for want of memory: its own counters, read before and after an attempt.

`/proc/vmstat` counts the whole machine, the control group the container that this worker lives in (`memory.events` of
cgroup v2, `memory.oom_control` of v1). A machine may show only one of them, or none.
"""

import re
from collections.abc import Sequence
from pathlib import Path

_OOM_KILL = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_VMSTAT = Path("/proc/vmstat")
_OWN_GROUPS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


class OomWatch:
    """Counts from its making on."""

    def __init__(self, counters: Sequence[Path]) -> None:
        """Reads `counters`, files with a line `oom_kill <number>`; those that cannot be read are passed over."""
        self._counters = tuple(counters)
        self._before = self._read()

    def has_killed(self) -> bool | None:
        """Whether a counter rose meanwhile. None: there is no counter, so nobody can say."""
        if not self._before:
            return None
        after = self._read()
        return any(after.get(path, before) > before for path, before in self._before.items())

    def _read(self) -> dict[Path, int]:
        found = {}
        for path in self._counters:
            try:
                match = _OOM_KILL.search(path.read_text())
            except OSError:
                continue
            if match:
                found[path] = int(match[1])
        return found


def kernel_counters(vmstat: Path = _VMSTAT, groups: Path = _OWN_GROUPS, mount: Path = _MOUNT) -> tuple[Path, ...]:
    """Where the counters of this machine and of our own control group should be.

    Source: cgroups(7); Documentation/admin-guide/cgroup-v2.rst, `memory.events`; cgroup-v1/memory.rst.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        lines = []
    places = [vmstat, mount / "memory.events", mount / "memory" / "memory.oom_control"]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            places += [
                mount / path.lstrip("/") / "memory.events",
                mount / "unified" / path.lstrip("/") / "memory.events",
            ]
        elif "memory" in controllers.split(","):
            places.append(mount / "memory" / path.lstrip("/") / "memory.oom_control")
    return tuple(dict.fromkeys(places))
