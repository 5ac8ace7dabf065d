"""Export: the tuned model becomes files that others load, and a proof that they answer as it does."""
