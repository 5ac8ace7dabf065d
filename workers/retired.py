"""Files of checkpoints that the coordinator has struck from its record: removed here, after its answer, never before.

A file that stays behind costs space and nothing else, so no failure to remove one is an error.
"""

import asyncio
import logging
from collections.abc import Sequence

from luthier.artifacts import delete

_log = logging.getLogger(__name__)


async def remove_retired(uris: Sequence[str], output_uri: str) -> None:
    """Deletes the artifacts `uris`, in threads, if they lie below the folder of the stage that writes to `output_uri`.

    `output_uri` is `<stage>/<attempt>-<fence>`: the stage's other attempts are its own too.
    """
    folder = output_uri.rstrip("/").rpartition("/")[0]
    inside = [uri for uri in uris if _is_below(uri, folder)]
    for uri in sorted(set(uris) - set(inside)):
        _log.error("a runner wants %s removed, which is not below %s; it stays", uri, folder)
    results = await asyncio.gather(*(asyncio.to_thread(delete, uri) for uri in inside), return_exceptions=True)
    for uri, result in zip(inside, results, strict=True):
        if isinstance(result, Exception):
            _log.warning("the retired checkpoint %s could not be removed and stays: %r", uri, result)


def _is_below(uri: str, folder: str) -> bool:
    names = uri.removeprefix(f"{folder}/").split("/")
    return bool(folder) and uri.startswith(f"{folder}/") and not {"", ".", ".."} & set(names)
