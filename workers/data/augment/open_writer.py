"""From `data.augment.writer` to the model that is asked, as far as this worker's settings allow."""

from pydantic import SecretStr

from luthier.settings import WorkerSettings
from luthier.spec.data.augment import WriterSpec
from workers.data.augment.writer import Writer
from workers.failures import ConfigError


def open_writer(spec: WriterSpec, settings: WorkerSettings) -> Writer:
    """The model that the job names.

    Raises:
        ConfigError: the settings do not list the endpoint, or the model may not be read or cannot answer.
        DependencyError: no source has the model at the moment.
    """
    if spec.endpoint is not None:
        from workers.data.augment.endpoint_writer import EndpointWriter  # here: not every job asks the network

        return EndpointWriter(spec, key_of(spec.endpoint, settings))
    # Here: they import torch.
    from workers.data.augment.local_writer import LocalWriter
    from workers.models import resolve_base_model

    return LocalWriter(resolve_base_model(spec.model, settings), spec)


def key_of(endpoint: str, settings: WorkerSettings) -> SecretStr:
    """The key of an endpoint, perhaps empty.

    Raises:
        ConfigError: the settings do not list it, or have keys for others than they list.
    """
    listed = [url.strip().rstrip("/") for url in settings.writer_endpoints.split(",") if url.strip()]
    given = settings.writer_keys.get_secret_value()
    keys = [key.strip() for key in given.split(",")] if given else [""] * len(listed)
    if endpoint.rstrip("/") not in listed:
        raise ConfigError(
            f"data.augment.writer.endpoint {endpoint} is none that this worker may ask ({', '.join(listed) or 'none'});"
            " add it to LUTHIER_WRITER_ENDPOINTS of the worker"
        )
    if len(keys) != len(listed):
        raise ConfigError(
            f"LUTHIER_WRITER_KEYS of this worker has {len(keys)} keys for the {len(listed)} of "
            "LUTHIER_WRITER_ENDPOINTS; give one for each, with nothing between two commas where there is none"
        )
    return SecretStr(keys[listed.index(endpoint.rstrip("/"))])
