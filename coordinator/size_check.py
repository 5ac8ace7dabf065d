"""Whether a submitted job fits the registered workers, where its model is one of the catalogue.

It reads no file that a job names: what others keep on its disk is none of their business. For models in folders and on
the hub `luthier jobs submit` looks itself, and the worker once more before it trains.
"""

import asyncio
from collections.abc import Sequence

from coordinator.job_store import JobStore
from luthier.planning.admission import Machine, check_fit
from luthier.planning.configs import find_config
from luthier.planning.hardware import load_hardware
from luthier.planning.shape import UnknownModelError
from luthier.spec import JobSpec


async def warnings_of(store: JobStore, spec: JobSpec) -> Sequence[str]:
    """What to tell whoever submits the job; nothing when it fits a worker, or when there is none yet.

    Raises:
        InvalidRequestError: it fits none, and asks to be refused then.
    """
    try:
        config = find_config(spec.base_model, None)
    except UnknownModelError:
        return ()
    async with store.transaction() as transaction:
        workers = await transaction.list_ready_workers()
    machines = [
        Machine(
            tuple(worker.capabilities.worker_classes),
            worker.capabilities.memory_bytes,
            worker.capabilities.accelerator,
            worker.capabilities.num_accelerators,
        )
        for worker in workers
    ]
    text = await asyncio.to_thread(lambda: check_fit(spec, config, machines, load_hardware()))
    return (text,) if text else ()
