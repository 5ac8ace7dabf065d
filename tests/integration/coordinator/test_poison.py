"""Messages that the bus can never take: held back with a dead letter, while everything else goes on."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from sqlmodel import col, select, update

from coordinator.commands.dead_letters import retry_dead_letter
from coordinator.store.queries import list_dead_letters
from coordinator.store.tables import DeadLetterRow, OutboxRow
from luthier.subjects import EVENTS_STREAM, STAGES_STREAM

MAX_PAYLOAD = 4096


@pytest.fixture
def nats_url(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[str]:
    """A server that takes small messages only."""
    port = free_port()
    config = tmp_path / "nats.conf"
    listen = f'listen: "127.0.0.1:{port}"\nmax_payload: {MAX_PAYLOAD}\n'
    config.write_text(listen + f'jetstream {{ store_dir: "{tmp_path / "nats"}" }}\n')
    with (tmp_path / "nats.log").open("wb") as log:
        process = subprocess.Popen(["nats-server", "-c", str(config)], stdout=log, stderr=log)
        try:
            asyncio.run(answers(f"nats://127.0.0.1:{port}"))
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


async def answers(url: str) -> None:
    client = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=silent)
    await client.close()


async def silent(_: Exception) -> None:
    """The server is starting."""


async def drain(relay: Any) -> None:
    while await relay.step():
        pass


async def letters(play: Any, **options: bool) -> list[DeadLetterRow]:
    async with play.database.transaction() as session:
        found, _ = await list_dead_letters(
            session, None, 100, 1 << 20, include_retried=options.get("include_retried", False)
        )
    return list(found)


async def change_first_event(play: Any, **values: Any) -> OutboxRow:
    """Returns the row as it was."""
    async with play.database.transaction() as session:
        query = select(OutboxRow).where(col(OutboxRow.sequence) == 1)
        row = (await session.exec(query)).one()
        session.expunge(row)
        await session.exec(update(OutboxRow).where(col(OutboxRow.message_id) == row.message_id).values(values))
    return row


async def unpublished(play: Any) -> list[OutboxRow]:
    async with play.database.transaction() as session:
        return list((await session.exec(select(OutboxRow).where(col(OutboxRow.published_time).is_(None)))).all())


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"payload": bytes(MAX_PAYLOAD + 1)}, "max_payload"),
        ({"payload": bytes(MAX_PAYLOAD - 100)}, "max_payload"),
        ({"subject": "luthier.event.job.created.default.job_x 0\r\nPUB x"}, "no subject"),
        ({"subject": "elsewhere.job"}, "no subject"),
        ({"subject": ""}, "no subject"),
        ({"headers": {"bad name": "x"}}, "BadHeaderError"),
        ({"headers": {"big": "x" * MAX_PAYLOAD}}, "max_payload"),
    ],
    ids=["payload", "payload with headers", "injection", "no stream", "no subject", "header", "large header"],
)
async def test_one_bad_message_is_held_and_the_others_go_on(
    play: Any, connect_relay: Any, jetstream: Any, values: dict[str, Any], named: str
) -> None:
    relay = await connect_relay()
    await play.create_job()
    bad = await change_first_event(play, **values)
    await play.create_job()
    await drain(relay)
    (letter,) = await letters(play)
    assert named in letter.reason
    assert (letter.source, letter.message_id, letter.job_id) == ("RELAY", bad.message_id, bad.job_id)
    assert (letter.subject, letter.payload) == (values.get("subject", bad.subject), values.get("payload", bad.payload))
    assert [row.message_id for row in await unpublished(play)] == [bad.message_id]
    assert (await jetstream.stream_info(EVENTS_STREAM)).state.messages == 3
    assert (await jetstream.stream_info(STAGES_STREAM)).state.messages == 2
    assert await relay.step() == 0


async def test_a_held_message_goes_out_once_it_can_after_a_retry(play: Any, connect_relay: Any, jetstream: Any) -> None:
    relay = await connect_relay()
    await play.create_job()
    good = await change_first_event(play, payload=bytes(MAX_PAYLOAD))
    await drain(relay)
    (letter,) = await letters(play)
    await retry_dead_letter(play.database, letter.dead_letter_id)
    assert await letters(play) == []
    await drain(relay)
    (again,) = await letters(play)
    assert again.dead_letter_id != letter.dead_letter_id
    await change_first_event(play, payload=good.payload)
    await retry_dead_letter(play.database, again.dead_letter_id)
    await drain(relay)
    assert await letters(play) == []
    assert await unpublished(play) == []
    assert (await jetstream.stream_info(EVENTS_STREAM)).state.messages == 2


async def test_what_is_only_away_is_never_held(play: Any, connect_relay: Any, jetstream: Any) -> None:
    relay = await connect_relay()
    await drain(relay)
    await play.create_job()
    for name in (EVENTS_STREAM, STAGES_STREAM):
        await jetstream.delete_stream(name)
    with pytest.raises(nats.errors.Error):
        await relay.step()
    assert await letters(play) == []
    assert len(await unpublished(play)) == 3


async def test_a_wake_up_of_a_stage_that_is_gone_is_published_like_any_other(play: Any, connect_relay: Any) -> None:
    relay = await connect_relay()
    await play.create_job()
    async with play.database.transaction() as session:
        orphan = update(OutboxRow).where(col(OutboxRow.sequence).is_(None))
        await session.exec(orphan.values(stage_id="stage_gone", job_id="job_gone"))
    await drain(relay)
    assert await letters(play) == []
    assert await unpublished(play) == []
