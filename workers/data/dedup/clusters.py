"""Rows that are linked, directly or through others, as clusters."""

import numpy as np
import numpy.typing as npt
from scipy import sparse


class Clusters:
    """Rows 0 to `num_rows` - 1, at first each by itself. Four bytes per row."""

    def __init__(self, num_rows: int) -> None:
        self.labels: npt.NDArray[np.int32] = np.arange(num_rows, dtype=np.int32)
        """Shape (rows,): equal for rows of one cluster, and below the number of clusters."""

    def link(self, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> None:
        """Puts the clusters of each pair of rows together. Takes memory for the pairs and the clusters alone."""
        if not len(one):
            return
        size = int(self.labels.max()) + 1
        ends = (self.labels[one], self.labels[other])
        graph = sparse.coo_array((np.ones(len(one), np.bool_), ends), shape=(size, size))
        _, merged = sparse.csgraph.connected_components(graph, directed=False)
        self.labels = merged.astype(np.int32)[self.labels]
