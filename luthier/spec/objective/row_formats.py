"""What rows of one kind may look like (`data.format`), where several objectives learn from that kind."""

ANSWERS = ("chat", "sharegpt", "prompt_completion", "alpaca", "stepwise")
"""Conversations whose answers are learned."""
ANSWERS_AND_TEXTS = (*ANSWERS, "text", "segments")
"""The same, and plain texts."""
PAIRS = ("preference", "openai_preference")
"""A better and a worse answer."""
