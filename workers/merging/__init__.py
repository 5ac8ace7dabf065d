"""Adapters that are there already become one model: the stage kind `merge`."""
