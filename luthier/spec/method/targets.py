"""How a method's section names the layers that get an adapter."""

import re
from typing import Annotated

from pydantic import AfterValidator


def _can_match(targets: str | list[str]) -> str | list[str]:
    """
    Raises:
        ValueError: no layer at all can be meant.
    """
    if not targets or (isinstance(targets, list) and "" in targets):
        raise ValueError("names no layer; give 'all-linear', a list of names, or a regular expression")
    if isinstance(targets, str):
        try:
            re.compile(targets)
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
    return targets


TargetModules = Annotated[str | list[str], AfterValidator(_can_match)]
"""`all-linear`, which is every linear layer but the output layer; the last parts of layers' names, as a list; or one
regular expression that the whole name of a layer fits."""


def describe_targets(targets: str | list[str]) -> str:
    """For people."""
    return targets if isinstance(targets, str) else ", ".join(targets)
