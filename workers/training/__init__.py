"""The `train` stage: our own loop over a base model, some or all of whose weights are trained."""
