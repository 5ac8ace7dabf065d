"""A world of one rank says everything to itself, without a process group."""

import torch

from workers.training.distributed.world import World


def test_alone_nothing_is_said_to_anybody() -> None:
    world = World()
    parameter = torch.nn.Parameter(torch.ones(2))
    world.sum_gradients([parameter])
    world.share([parameter])
    assert parameter.grad is None
    assert (world.any(True), world.any(False)) == (True, False)
    assert world.gather({"a": 1}) == [{"a": 1}]
    assert world.sum_figures({"loss": 0.1}) == {"loss": 0.1}
    assert not torch.distributed.is_initialized()


def test_each_rank_finds_its_own_state_again() -> None:
    gathered = {"cpu": torch.tensor([0]), "cpu.1": torch.tensor([1]), "cpu.11": torch.tensor([11])}
    for rank in (0, 1, 11):
        assert World(rank, 12).own_states(gathered) == {"cpu": torch.tensor([rank])}
    assert World(2, 12).own_states(gathered) == {}
