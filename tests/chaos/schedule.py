"""When what is broken: a pure function of the seed, so that a seed is all it takes to break the same things again."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FIRST_STRIKE_SECONDS = 1.0


@dataclass(frozen=True)
class Breakable:
    """What the schedule has to know of a fault."""

    targets: Sequence[str]
    weight: float
    """How often it is drawn, compared with the others."""
    seconds: tuple[float, float]
    """Shortest and longest time that it lasts; both 0 for what takes no time."""


@dataclass(frozen=True)
class Strike:
    """One fault at one moment."""

    at: float
    """Seconds after the start."""
    fault: str
    target: str
    seconds: float
    """How long it lasts."""

    def __str__(self) -> str:
        return f"{self.at:8.2f} s  {self.fault} of {self.target}" + (
            f" for {self.seconds:.1f} s" if self.seconds else ""
        )


def make_schedule(
    seed: int, seconds: float, breakables: Mapping[str, Breakable], *, mean_gap_seconds: float
) -> list[Strike]:
    """Strikes over `seconds`, oldest first. A fault without a target here is never drawn."""
    chance = random.Random(seed)
    names = sorted(name for name, row in breakables.items() if row.targets)
    weights = [breakables[name].weight for name in names]
    strikes = []
    at = FIRST_STRIKE_SECONDS
    while at < seconds:
        [fault] = chance.choices(names, weights)
        row = breakables[fault]
        strikes.append(Strike(at, fault, chance.choice(sorted(row.targets)), chance.uniform(*row.seconds)))
        at += chance.uniform(0.0, 2.0 * mean_gap_seconds)
    return strikes
