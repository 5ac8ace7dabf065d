"""Which rows of a stream are also done the slow way, to see whether the quick way still agrees."""

_EVERY = 100


class SpotCheck:
    """All rows of the first batch, then every hundredth."""

    def __init__(self) -> None:
        self._num_seen = 0

    def indices(self, num_rows: int) -> range:
        """Of the next batch, which has as many rows."""
        start, self._num_seen = self._num_seen, self._num_seen + num_rows
        return range(-start % _EVERY, num_rows, _EVERY) if start else range(num_rows)
