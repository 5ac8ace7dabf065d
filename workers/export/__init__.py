"""Export: the trained adapter becomes files that others load, and a proof that they answer as it does."""
