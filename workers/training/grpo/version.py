"""TRL is an optional part of a worker, and of one version: what GRPO uses of it is not all public."""

from importlib.metadata import PackageNotFoundError, version

from workers.failures import ConfigError

PINNED = "1.16.0"


def check_trl() -> None:
    """
    Raises:
        ConfigError: TRL is not installed here, or of another version than the one that this was written for.
    """
    try:
        found = version("trl")
    except PackageNotFoundError:
        raise ConfigError(
            "objective.type grpo needs TRL, which this worker does not have; install it there: pip install "
            "'luthier[grpo]'"
        ) from None
    if found != PINNED:
        raise ConfigError(
            f"objective.type grpo needs TRL {PINNED}, and this worker has {found}; install it there: pip install "
            "'luthier[grpo]'"
        )
