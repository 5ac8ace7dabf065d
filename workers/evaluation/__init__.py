"""The `evaluate` stage: base against tuned on held-out rows, with intervals, a test, and a gate."""
