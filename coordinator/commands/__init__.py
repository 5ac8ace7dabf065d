"""What the coordinator can be told to do: one module per subject, one transaction per command."""
