import asyncio
import logging

import pytest

from luthier.v1.stage_pb2 import Checkpoint, MetricPoint, Progress
from workers.contract import LogLine
from workers.lease import Lease
from workers.relay import Relay


@pytest.fixture
async def lease():
    lease = Lease("stage-1", 7, patience=60, taken_at=asyncio.get_running_loop().time())
    yield lease
    lease.release()


async def test_metrics_wait_for_company_and_closing_sends_the_rest(lease):
    sent = []

    async def send(request):
        sent.append(request)

    relay = Relay(lease, send)
    for step in range(450):
        relay.take(MetricPoint(step=step))
    relay.close()
    await relay.run()
    assert [len(request.points) for request in sent] == [200, 200, 50]
    assert [point.step for request in sent for point in request.points] == list(range(450))
    assert {(request.stage_id, request.fence) for request in sent} == {("stage-1", 7)}


async def test_a_lonely_point_is_sent_without_company(lease):
    sent = asyncio.Queue()
    relay = Relay(lease, sent.put)
    task = asyncio.create_task(relay.run())
    relay.take(MetricPoint(step=1))
    async with asyncio.timeout(30):
        assert len((await sent.get()).points) == 1
    task.cancel()


async def test_a_checkpoint_is_reported_at_once_with_what_came_before_it(lease, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workers.relay._BATCH_SECONDS", 600.0)
    sent = asyncio.Queue()
    relay = Relay(lease, sent.put)
    task = asyncio.create_task(relay.run())
    relay.take(MetricPoint(step=1))
    relay.take(Checkpoint(uri="u", step=1))
    async with asyncio.timeout(30):
        request = await sent.get()
    assert (len(request.points), len(request.checkpoints)) == (1, 1)
    relay.take(Checkpoint(uri="u", step=2))
    async with asyncio.timeout(30):
        assert [checkpoint.step for checkpoint in (await sent.get()).checkpoints] == [2]
    task.cancel()


async def test_what_arrives_while_a_report_is_under_way_goes_with_the_next(lease):
    sent = []
    is_under_way, may_go = asyncio.Event(), asyncio.Event()

    async def send(request):
        is_under_way.set()
        await may_go.wait()
        sent.append([point.step for point in request.points])

    relay = Relay(lease, send)
    task = asyncio.create_task(relay.run())
    relay.take(MetricPoint(step=1))
    relay.take(Checkpoint(uri="u", step=1))
    await is_under_way.wait()
    relay.take(MetricPoint(step=2))
    relay.close()
    may_go.set()
    await task
    assert sent == [[1], [2]]


async def test_progress_rides_on_the_next_heartbeat_and_logs_go_to_the_log(lease, caplog):
    relay = Relay(lease, asyncio.Queue().put)
    relay.take(Progress(step=3))
    relay.take(LogLine(logging.WARNING, "workers.training", "100% slow"))
    relay.close()
    await relay.run()
    assert lease.progress.step == 3
    assert caplog.record_tuples == [("workers.training", logging.WARNING, "100% slow")]
