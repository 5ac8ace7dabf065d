"""Before a job is sent: whether any worker has the memory for it, where the model's config is on this machine."""

from typing import TYPE_CHECKING

from luthier.cli.output import warn
from luthier.errors import PermissionDeniedError
from luthier.planning.admission import Machine, check_fit
from luthier.planning.configs import find_config
from luthier.planning.hardware import load_hardware
from luthier.planning.shape import UnknownModelError
from luthier.settings import ClientSettings
from luthier.spec import JobSpec

if TYPE_CHECKING:
    from luthier.client import Client


def warn_of_size(client: "Client", spec: JobSpec) -> None:
    """Warns on stderr. Says nothing when the model is not known here, or the workers may not be listed.

    Raises:
        InvalidRequestError: no worker has the memory, and the job asks to be refused then.
    """
    settings = ClientSettings()
    try:
        config = find_config(spec.base_model, settings.model_cache_path)
        workers = client.workers.list(limit=1000)
    except (UnknownModelError, PermissionDeniedError):
        return
    machines = [
        Machine(worker.worker_classes, worker.memory_bytes, worker.accelerator or "", worker.num_accelerators)
        for worker in workers
        if worker.state == "READY"
    ]
    text = check_fit(spec, config, machines, load_hardware(settings.hardware))
    if text:
        warn(text)
