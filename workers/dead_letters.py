"""Wake-ups that nobody can use: on record at the coordinator first, off the queue then. Nothing is dropped silently."""

import logging

from luthier.errors import LuthierError
from luthier.v1.worker_service_pb2 import RecordDeadLetterRequest
from workers.bus import WakeUp
from workers.coordinator_link import Coordinator

_log = logging.getLogger(__name__)


async def bury(coordinator: Coordinator, wake_up: WakeUp, reason: str) -> None:
    """Has the coordinator keep the wake-up, then drops it. While that is impossible it comes again, a little later."""
    message = wake_up.message
    letter = RecordDeadLetterRequest(
        subject=message.subject,
        headers=wake_up.headers,
        payload=message.data,
        reason=reason,
        stage_id=wake_up.ready.stage_id if wake_up.ready else "",
    )
    try:
        await coordinator.record_dead_letter(letter)
    except LuthierError as error:
        _log.warning("a wake-up on %s is useless (%s) and not on record yet: %s", message.subject, reason, error)
        await wake_up.hand_back()
    else:
        _log.error("a wake-up on %s is useless and now a dead letter: %s", message.subject, reason)
        await wake_up.settle()
