"""Deployment: an exported model goes into Triton, and nothing of it stays there when that fails."""
