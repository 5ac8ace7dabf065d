"""One simulated installation: the store, the clock that jumps, the bus, the calls between processes."""

import hashlib
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from typing import Any, TypeVar

from coordinator.messages import OutboxMessage
from coordinator.terms import Terms
from luthier.errors import LuthierError
from luthier.v1.event_pb2 import Event, StageReady
from tests.simulation.faults import QUIET, CoordinatorDiedError, Faults, UnavailableError
from tests.simulation.lane import Lane
from tests.simulation.memory_store import START, MemoryStore
from tests.simulation.scheduler import FOREVER, Scheduler, Task, sleep

T = TypeVar("T")

TERMS = Terms(lease=timedelta(seconds=15), quarantine=timedelta(seconds=60), artifacts="/artifacts")
NUM_COORDINATORS = 2
CALL_TIMEOUT_SECONDS = 2.0
LATEST_CALL_SECONDS = 20.0
REDELIVERED_AFTER_SECONDS = 10.0
MAX_SKEW_SECONDS = 3600.0


class World:
    """What every actor shares."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.scheduler = Scheduler(seed)
        self.random = self.scheduler.random
        self.faults = faults
        self.skew = timedelta()
        self.store = MemoryStore(self.clock, self._step, sleep)
        self.store.on_commit = self._on_commit
        self.lanes = [Lane(self, TERMS) for _ in range(NUM_COORDINATORS)]
        self.bus = Bus(self)
        self.files: set[str] = set()
        """Checkpoints whose files exist."""
        self.relay: Task | None = None
        self.unpublished: list[OutboxMessage] = []
        self.num_workers = 0
        self.places: dict[tuple[int, int], tuple[str, int]] = {}
        """Whom a number in a gang was given to, by fence and number, and how many workers that gang has."""
        self.accepted: set[str] = set()
        """Jobs that a person was told of."""
        self.trace = hashlib.sha256()
        self.log: list[str] | None = None
        """Every line of the trace, when somebody wants to read it."""

    @property
    def is_quiet(self) -> bool:
        """Whether nothing goes wrong any more."""
        return self.faults is QUIET

    def clock(self) -> datetime:
        """The database's clock, jumps included."""
        return START + timedelta(seconds=self.scheduler.now) + self.skew

    def chance(self, probability: float) -> bool:
        """Whether something that happens so often happens now."""
        return probability > 0 and self.random.random() < probability

    def lane(self) -> Lane:
        """Of the coordinator that a call happens to reach."""
        return self.random.choice(self.lanes)

    def note(self, who: str, what: str) -> None:
        """A line of the trace."""
        line = f"{self.scheduler.now:.6f} {who}: {what}\n"
        self.trace.update(line.encode())
        if self.log is not None:
            self.log.append(line)

    async def call(self, who: str, make: Callable[[], Awaitable[T]]) -> T:
        """One RPC of `who`, made the way the network makes it.

        Raises:
            UnavailableError: no answer came.
        """
        await sleep(self.random.uniform(0.0002, 0.005))
        if self.chance(self.faults.request_lost):
            await sleep(CALL_TIMEOUT_SECONDS)
            raise UnavailableError
        if self.chance(self.faults.in_flight):
            delay = self.random.uniform(0.0, LATEST_CALL_SECONDS)
            self.scheduler.spawn(self._late(who, make), f"{who}'s late call", delay)
            await sleep(CALL_TIMEOUT_SECONDS)
            raise UnavailableError
        try:
            result = await make()
        except CoordinatorDiedError as error:
            await sleep(CALL_TIMEOUT_SECONDS)
            raise UnavailableError from error
        if self.chance(self.faults.reply_lost):
            await sleep(CALL_TIMEOUT_SECONDS)
            raise UnavailableError
        return result

    async def call_until_answered(self, who: str, make: Callable[[], Awaitable[T]]) -> T:
        """The same, again and again."""
        while True:
            try:
                return await self.call(who, make)
            except UnavailableError:
                await sleep(self.random.uniform(0.1, 2.0))

    async def _late(self, who: str, make: Callable[[], Awaitable[Any]]) -> None:
        try:
            await make()
        except (LuthierError, CoordinatorDiedError) as error:
            self.note(who, f"late call: {type(error).__name__}")

    async def _step(self) -> None:
        is_slow = self.chance(self.faults.statement_is_slow)
        await sleep(self.random.uniform(0.05, 1.0) if is_slow else self.random.uniform(0.0001, 0.004))
        if self.chance(self.faults.crash_at_step):
            raise CoordinatorDiedError

    def _on_commit(self, messages: Collection[OutboxMessage]) -> None:
        for message in messages:
            self.note("commit", f"{message.sequence or message.stage_id} {message.subject}")
            if "checkpoint.committed" in message.subject:
                uri = Event.FromString(message.payload).checkpoint_committed.checkpoint.uri
                assert uri in self.files, f"{uri} is on record, and its files are gone"
        self.unpublished += messages
        if messages and self.relay is not None:  # a notification; a lost one costs a second
            self.scheduler.wake(self.relay, self.random.choice((0.0, 0.0, 0.0, 1.0)))


class Bus:
    """Wake-ups on their way to workers: lost, doubled, late, out of order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: list[tuple[float, str]] = []
        """When a stage's wake-up may be delivered, and whose it is."""
        self._idle: dict[str, tuple[Task, frozenset[str]]] = {}
        self._delivered: dict[str, str] = {}

    def publish(self, message: OutboxMessage) -> None:
        """Takes a wake-up over."""
        world = self._world
        stage_id = StageReady.FromString(message.payload).stage_id
        num_copies = 1 + int(world.chance(world.faults.wake_up_doubled))
        for _ in range(0 if world.chance(world.faults.wake_up_lost) else num_copies):
            late = 0.0 if world.is_quiet else world.random.choice((0.0, 0.0, 0.1, 3.0))
            self.redeliver(stage_id, late)

    def redeliver(self, stage_id: str, seconds: float) -> None:
        """Has a wake-up delivered (again) after some time."""
        self._world.scheduler.spawn(self._deliver(stage_id), "bus", seconds)

    async def pull(self, worker_id: str, task: Task, kinds: frozenset[str]) -> str:
        """The next wake-up for a worker; waits for it as long as need be."""
        for index, (_, stage_id) in enumerate(self._waiting):
            if self._kind(stage_id) in kinds:
                del self._waiting[index]
                return stage_id
        self._idle[worker_id] = task, kinds
        try:
            while worker_id not in self._delivered:
                await sleep(FOREVER)
        finally:
            self._idle.pop(worker_id, None)
        return self._delivered.pop(worker_id)

    def forget(self, worker_id: str) -> None:
        """A worker died; what it was given and has not acknowledged comes again."""
        self._idle.pop(worker_id, None)
        stage_id = self._delivered.pop(worker_id, None)
        if stage_id is not None:
            self.redeliver(stage_id, REDELIVERED_AFTER_SECONDS)

    async def _deliver(self, stage_id: str) -> None:
        able = [worker_id for worker_id, (_, kinds) in self._idle.items() if self._kind(stage_id) in kinds]
        if not able:
            self._waiting.append((self._world.scheduler.now, stage_id))
            return
        worker_id = self._world.random.choice(able)
        task, _ = self._idle.pop(worker_id)
        self._delivered[worker_id] = stage_id
        self._world.scheduler.wake(task)

    def _kind(self, stage_id: str) -> str:
        return self._world.store.tables.stage[stage_id].kind
