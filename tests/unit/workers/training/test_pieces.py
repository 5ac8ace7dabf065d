"""Tensors in pieces: any part of them is read from whatever pieces there are, and a missing one is noticed."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from workers.training.pieces import Piece, open_pieces, whole, wholes, write_pieces

WHOLE = torch.arange(12.0).view(3, 4)


def cut(places: Sequence[int]) -> list[Piece]:
    """`WHOLE` in pieces that begin at 0 and at `places`."""
    flat = WHOLE.flatten()
    return [Piece(flat[start:stop], start, (3, 4)) for start, stop in itertools.pairwise([0, *places, 12])]


def written(folder: Path, pieces: Sequence[Piece]) -> list[Path]:
    """A file for each, the last ones first."""
    paths = [folder / f"{number}.safetensors" for number in range(len(pieces))]
    for path, piece in zip(paths, pieces, strict=True):
        write_pieces({"a": piece}, path)
    return paths[::-1]


@pytest.mark.parametrize("places", [[], [4, 8], [1, 7], [0, 12], [5, 5, 6]])
def test_any_part_is_read_from_any_pieces(tmp_path: Path, places: list[int]) -> None:
    stored = open_pieces(written(tmp_path, cut(places)))["a"]
    assert stored.shape == (3, 4)
    assert torch.equal(stored.whole(), WHOLE)
    for start, stop in itertools.combinations_with_replacement(range(13), 2):
        assert torch.equal(stored.read(start, stop), WHOLE.flatten()[start:stop])


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (cut([4, 8])[:2], "8 elements of 12"),
        (cut([4, 8])[1:], "element 0"),
        ([*cut([4, 8]), cut([4, 8])[1]], "element 4"),
        ([cut([4])[0], cut([6])[1]], "element 4"),
    ],
)
def test_what_is_missing_or_there_twice_is_noticed(tmp_path: Path, pieces: list[Piece], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_pieces(written(tmp_path, pieces))


def test_pieces_of_other_wholes_do_not_fit_together(tmp_path: Path) -> None:
    first, second = cut([6])
    with pytest.raises(ValueError, match="too many values"):
        open_pieces(written(tmp_path, [first, Piece(second.values, 6, (12,))]))


def test_numbers_of_every_kind_come_back(tmp_path: Path) -> None:
    tensors = {
        "scalar": torch.tensor(3.5),
        "integer": torch.tensor(7),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "low": torch.ones(2, 2, dtype=torch.bfloat16),
        "turned": torch.arange(6.0).view(2, 3).T,
        "empty": torch.empty(0, 3),
    }
    write_pieces(wholes(tensors), tmp_path / "0.safetensors")
    stored = open_pieces([tmp_path / "0.safetensors"])
    assert stored.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(stored[name].whole(), tensor)
        assert stored[name].whole().dtype == tensor.dtype


def test_a_whole_tensor_is_not_copied() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    assert whole(weight).values.data_ptr() == weight.data_ptr()
