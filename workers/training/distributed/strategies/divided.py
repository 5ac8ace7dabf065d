"""What strategies share that divide the trained state."""

from collections.abc import Iterable, Mapping

from workers.training.distributed.world import World
from workers.training.pieces import Piece


def fingerprint_of(world: World, names: Iterable[str], pieces: Mapping[str, Piece]) -> dict[str, float]:
    """One number per parameter, as `workers.training.guards.fingerprint` has them, from the pieces of all ranks.

    `names` are those of all parameters; this rank may have nothing of some.
    """
    sums = world.sum_figures(
        {name: float(piece.values.detach().double().square().sum()) for name, piece in pieces.items()}
    )
    return {name: sums[name] for name in names}
