"""The `train` stage: our own loop over a frozen base model and its adapter."""
