"""What a run has shown: figures for machines (JSON) and a table for people."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Report:
    """One run of chaos."""

    seed: int
    seconds: float
    """Of faults; the quiet phase after them comes on top."""
    quiet_seconds: float
    num_jobs: int
    num_attempts: int
    """Stage runs: attempts that a worker started."""
    num_stages_succeeded: int
    num_kills: int
    strikes: Mapping[str, int]
    """How often each fault struck."""
    num_lost: int
    num_doubled: int
    recovery_seconds: Sequence[float]
    """Kill of a worker to the next start of its stage."""
    num_events: int
    num_resumed: int
    """How often the subscriber was cut off and went on."""
    left_out: Sequence[str]
    """Faults that this machine cannot make."""
    violations: Sequence[str]

    def recovery(self, percent: int) -> float | None:
        """A percentile in seconds; None when no kill hit a running stage."""
        if len(self.recovery_seconds) < 2:
            return self.recovery_seconds[0] if self.recovery_seconds else None
        return statistics.quantiles(self.recovery_seconds, n=100, method="inclusive")[percent - 1]

    def write(self, path: Path) -> None:
        """As JSON."""
        figures = asdict(self) | {"recovery_p50_seconds": self.recovery(50), "recovery_p99_seconds": self.recovery(99)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n")

    def show(self) -> None:
        """On the terminal."""
        table = Table("What", "How much", title=f"chaos, seed {self.seed}")
        rows = {
            "jobs accepted": self.num_jobs,
            "stage runs": self.num_attempts,
            "stages succeeded": self.num_stages_succeeded,
            "processes killed": self.num_kills,
            "lost": self.num_lost,
            "doubled": self.num_doubled,
            "recovery p50, p99": f"{_in_seconds(self.recovery(50))}, {_in_seconds(self.recovery(99))}",
            "events, followed through breaks": f"{self.num_events}, {self.num_resumed}",
            "faults for, then quiet after": f"{self.seconds:.0f} s, {self.quiet_seconds:.0f} s",
            **{f"  {name}": count for name, count in sorted(self.strikes.items())},
            "left out": ", ".join(self.left_out) or "nothing",
            "violations": len(self.violations),
        }
        for name, value in rows.items():
            table.add_row(name, str(value))
        console = Console()
        console.print(table)
        for violation in self.violations:
            console.print(violation, style="red", soft_wrap=True, highlight=False)


def _in_seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
