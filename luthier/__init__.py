"""Luthier: a dataset and an open model in, a fine-tuned, evaluated, served model out.

    with luthier.Client() as client:
        job = client.wait(client.submit("job.yaml").id)

`Client`, `AsyncClient` and `errors` are loaded on first use, so that importing a submodule costs only that submodule.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier import errors
    from luthier.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "errors"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "errors":
        return import_module("luthier.errors")
    if name in __all__:
        return getattr(import_module("luthier.client"), name)
    raise AttributeError(f"module 'luthier' has no attribute {name!r}")
