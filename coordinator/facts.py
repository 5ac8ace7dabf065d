"""What can happen to a stage (facts), and what has to be done then (effects). Data only; the table is lifecycle.py."""

from dataclasses import dataclass

from google.protobuf.message import Message

from luthier.v1.failure_pb2 import Failure
from luthier.v1.stage_pb2 import StageOutputs


@dataclass(frozen=True)
class NeedsMet:
    """Every stage that it reads from has succeeded."""


@dataclass(frozen=True)
class Claimed:
    """A worker took it."""

    worker_id: str
    fence: int
    """New, and larger than every one before."""


@dataclass(frozen=True)
class Completed:
    """The attempt left outputs."""

    fence: int
    outputs: StageOutputs


@dataclass(frozen=True)
class Failed:
    """The attempt gave up, or the coordinator gave up on it."""

    fence: int
    failure: Failure
    worker_id: str | None = None
    """Whom it counts against: None: the worker that claimed the stage; empty: nobody."""


@dataclass(frozen=True)
class LeaseExpired:
    """No heartbeat came for a whole lease."""

    fence: int


@dataclass(frozen=True)
class Overlooked:
    """It is ready and nobody came: the back-off is over, or the wake-up was lost."""


@dataclass(frozen=True)
class Cancelled:
    """Somebody cancelled the job."""


@dataclass(frozen=True)
class PauseRequested:
    """Somebody paused the job."""


@dataclass(frozen=True)
class Resumed:
    """Somebody resumed the job."""


@dataclass(frozen=True)
class UpstreamFailed:
    """A stage that it needs did not succeed, or the gate refused the model."""

    reason: str


Fact = (
    NeedsMet
    | Claimed
    | Completed
    | Failed
    | LeaseExpired
    | Overlooked
    | PauseRequested
    | Resumed
    | Cancelled
    | UpstreamFailed
)
FACTS: tuple[type[Fact], ...] = (
    NeedsMet,
    Claimed,
    Completed,
    Failed,
    LeaseExpired,
    Overlooked,
    PauseRequested,
    Resumed,
    Cancelled,
    UpstreamFailed,
)


@dataclass(frozen=True)
class Emit:
    """Write an event; `fact` is one of the messages in the event's oneof."""

    fact: Message


@dataclass(frozen=True)
class WakeUp:
    """Tell the workers that the stage is ready, and let nobody claim it before `delay_seconds` are over."""

    delay_seconds: float = 0.0


@dataclass(frozen=True)
class Blame:
    """Count a failure against a worker."""

    worker_id: str


@dataclass(frozen=True)
class Credit:
    """Count a success for a worker."""

    worker_id: str


@dataclass(frozen=True)
class OpenDeployment:
    """Record a deployment that is still to be made."""


@dataclass(frozen=True)
class RegisterModel:
    """Record the exported model."""

    outputs: StageOutputs


@dataclass(frozen=True)
class ActivateDeployment:
    """The deployment answers."""

    outputs: StageOutputs


@dataclass(frozen=True)
class FailDeployment:
    """The deployment will not be made."""

    failure: Failure


Effect = Emit | WakeUp | Blame | Credit | OpenDeployment | RegisterModel | ActivateDeployment | FailDeployment
