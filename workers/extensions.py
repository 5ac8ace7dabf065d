"""Functions of the users' own: how a job file's name becomes a function, on workers whose settings allow the name.

What is found runs in the worker's process. So whoever calls `find` calls `check_allowed` before it; no name out of a
job file or an artifact is looked up that the worker's owner did not write down, letter by letter.
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from operator import attrgetter
from typing import Any

from workers.failures import ConfigError


@dataclass(frozen=True)
class ExtensionPoint:
    """A place where users' functions come in."""

    field: str
    """Of the job file, for people."""
    group: str
    """Entry-point group of packages that bring such functions."""
    setting: str
    """Environment variable with the names that are allowed."""

    def check_allowed(self, name: str, allowed: str) -> None:
        """
        Args:
            name: as in the job file.
            allowed: the worker's setting: names, separated by commas.

        Raises:
            ConfigError: it is not among them.
        """
        if name not in {one.strip() for one in allowed.split(",")}:
            raise ConfigError(
                f"{self.field} {name!r} is not allowed on this worker; whoever runs it can add the name to "
                f"{self.setting}"
            )

    def find(self, name: str) -> Any:
        """What `module:attribute`, or a name of the group, stands for.

        Raises:
            ConfigError: there is no such thing on this worker, or its module cannot be imported.
        """
        module, _, attribute = name.partition(":")
        try:
            if attribute:
                return attrgetter(attribute)(import_module(module))
            for found in entry_points(group=self.group, name=module):
                return found.load()
        # The border to code of others, which runs when it is imported.
        except Exception as error:
            raise ConfigError(
                f"{self.field} {name!r} cannot be loaded on this worker: {type(error).__name__}: {error}; install its "
                f"package where the worker runs, or mend it"
            ) from error
        raise ConfigError(f"{self.field} {name!r} is not in the group {self.group!r} of any package on this worker")
