"""Which rows are drawn together, to which split, and how often: groups, strata, times, classes and mixtures."""
