"""Rows that say which answers are good."""

DESIRABLE, UNDESIRABLE = "desirable", "undesirable"
"""Labels of single answers."""
