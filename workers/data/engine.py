"""The one place that imports Daft: in this process, silent, and without a word to its makers.

Daft reports every import over the network unless the environment says no before it is imported.
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("DAFT_PROGRESS_BAR", "0")

import daft

__all__ = ["daft"]
