"""Versions of datasets in the artifact store: what is there, who has it, and taking out what nobody has.

A prune holds the project's counter while it looks at the rows and withdraws what may go. Every change of state takes
that counter last and keeps it until its commit: a stage that is claimed meanwhile begins after the withdrawal, and
finds nothing; one that was claimed before is seen, and the prune is refused. So no job is ever given a dataset that
goes. Files are deleted after the commit, where nobody waits for it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TypeVar

from sqlmodel.ext.asyncio.session import AsyncSession

from coordinator.retention import KnownVersion, describe
from coordinator.store.engine import Database, now
from coordinator.store.queries import list_dataset_uses, list_preprocessing_jobs, list_trained_models
from coordinator.store.tables import ProjectRow
from luthier.dataset_versions import datasets_uri, erase, list_versions, withdraw, withdrawn
from luthier.errors import ConflictError, NotFoundError, UnavailableError

T = TypeVar("T")

# Withdrawn while the project's counter is held. Few, because a change of state waits at most 10 s for it.
_BATCH = 5
# No further one is withdrawn then; PostgreSQL takes the lock from a transaction that is idle for 30 s.
_MAX_WITHDRAWING_SECONDS = 5.0


async def list_dataset_versions(database: Database, artifacts: str, project_id: str) -> list[KnownVersion]:
    """All versions of a project, those used last first.

    Raises:
        UnavailableError: the artifact store does not answer.
    """
    stored = await _in_store(lambda: list_versions(datasets_uri(artifacts, project_id)))
    async with database.transaction() as session:
        uses = await list_dataset_uses(session, project_id)
        return describe(stored, uses, await list_trained_models(session, project_id))


async def prune_dataset_versions(
    database: Database, artifacts: str, project_id: str, unused_for: timedelta, *, dry_run: bool
) -> list[KnownVersion]:
    """Deletes the versions that nobody has and nobody had for `unused_for`; returns them.

    Raises:
        NotFoundError: there is no such project.
        ConflictError: a stage of the project preprocesses.
        UnavailableError: the artifact store does not answer.
    """
    datasets = datasets_uri(artifacts, project_id)
    if not dry_run:
        await _in_store(lambda: erase(withdrawn(datasets)))
    candidates = await _in_store(lambda: list_versions(datasets))
    pruned: list[KnownVersion] = []
    for start in range(0, max(len(candidates), 1), _BATCH):
        async with database.transaction() as session:
            await _lock(session, project_id)
            await _check_nobody_preprocesses(session, project_id)
            uses = await list_dataset_uses(session, project_id)
            known = describe(candidates[start : start + _BATCH], uses, await list_trained_models(session, project_id))
            moment = await now(session)
            going = [version for version in known if version.may_go(moment - unused_for)]
            left = {} if dry_run else await _in_store(partial(_withdraw, datasets, going))
        await _in_store(partial(erase, [uri for uris in left.values() for uri in uris]))
        pruned += [version for version in going if dry_run or left.get(version.stored.version)]
    return pruned


def _withdraw(datasets: str, versions: Iterable[KnownVersion]) -> dict[str, list[str]]:
    """What is left to erase of each; nothing of one that somebody else has pruned, or that the next prune takes."""
    left: dict[str, list[str]] = {}
    end = time.monotonic() + _MAX_WITHDRAWING_SECONDS
    for version in versions:
        if time.monotonic() < end:
            left[version.stored.version] = withdraw(datasets, version.stored.version)
    return left


async def _lock(session: AsyncSession, project_id: str) -> None:
    if await session.get(ProjectRow, project_id, with_for_update=True) is None:
        raise NotFoundError(f"there is no project {project_id}")


async def _check_nobody_preprocesses(session: AsyncSession, project_id: str) -> None:
    if jobs := await list_preprocessing_jobs(session, project_id):
        raise ConflictError(
            f"job {jobs[0]} preprocesses just now, and which dataset it is about to use is not known; prune again when "
            f"it is done"
        )


async def _in_store(work: Callable[[], T]) -> T:
    """What `work` returns. It cannot be stopped, so whoever is cancelled keeps his locks until it has ended."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        raise
    except OSError as error:
        raise UnavailableError(f"the artifact store fails: {error}; look at LUTHIER_ARTIFACTS and try again") from error
