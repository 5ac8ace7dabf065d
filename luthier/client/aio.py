"""The asyncio client: the same operations as `Client`, awaited. Bound to the event loop that it is made in."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from opentelemetry.instrumentation.grpc import aio_client_interceptors

from luthier import telemetry
from luthier.client import calls, chats, streams
from luthier.client.admin import AsyncDeadLetters, AsyncWorkers
from luthier.client.calls import Call, Flow, JobLike
from luthier.client.chats import Prompt, Sampling, Tools
from luthier.client.connection import CHANNEL_OPTIONS, find_connection
from luthier.client.convert import chunk_of
from luthier.client.datasets import AsyncDatasets
from luthier.client.types import ChatAnswer, ChatChunk, Deployment, Event, Job, MetricPoint, Model
from luthier.settings import ClientSettings

T = TypeVar("T")


class AsyncClient:
    """Talks to a gateway. Every method raises a `luthier.errors.LuthierError` when it does not succeed.

    Use it as an async context manager, or call `close`.
    """

    def __init__(
        self,
        gateway: str | None = None,
        api_key: str | None = None,
        *,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 120.0,
        settings: ClientSettings | None = None,
    ) -> None:
        """Finds the gateway; nothing is sent yet.

        Args:
            gateway: `host:port`; absent: `LUTHIER_GATEWAY`, or the one that `luthier up` started.
            api_key: absent: `LUTHIER_API_KEY`, or the one that `luthier up` made.
            timeout_seconds: deadline of each call that is not a stream.
            patience_seconds: how long `watch` and `events` try to get a lost connection back.
            settings: absent: from the environment.
        """
        self._connection = find_connection(gateway, api_key, settings)
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        # Of the library's interceptors only the unary one: a span of a stream would stay current between messages.
        unary_interceptor = aio_client_interceptors()[0]
        self._channel = grpc.aio.insecure_channel(
            self._connection.target, options=CHANNEL_OPTIONS, interceptors=[unary_interceptor]
        )
        self.models = AsyncModels(self)
        self.deployments = AsyncDeployments(self)
        self.datasets = AsyncDatasets(self)
        self.workers = AsyncWorkers(self)
        self.dead_letters = AsyncDeadLetters(self)

    async def submit(self, job: JobLike, request_id: str | None = None) -> Job:
        """Submits a job: a path, a mapping with its content, or a checked spec. The trace of the job begins here.

        Args:
            job: relative paths in it count from the file's folder, else from the working directory.
            request_id: a second call with the same id returns the same job.

        Raises:
            InvalidSpecError: the job file is wrong; every fault is named and nothing was sent.
        """
        spec = calls.spec_of(job)
        with telemetry.span("submit job", job_name=spec.name):
            return await self.run(calls.create_job(spec, request_id))

    async def get(self, job_id: str) -> Job:
        """One job."""
        return await self.run(calls.get_job(job_id))

    async def metrics(self, job_id: str, stage: str | None = None, limit: int = 100_000) -> list[MetricPoint]:
        """Recorded metrics of a job, oldest first."""
        return await self.run(calls.list_metrics(job_id, stage, limit))

    async def list(self, limit: int = 50) -> list[Job]:
        """The newest jobs, newest first."""
        return await self.run(calls.list_jobs(limit))

    async def cancel(self, job_id: str) -> Job:
        """Cancels a job; a repeat changes nothing."""
        return await self.run(calls.cancel_job(job_id))

    async def pause(self, job_id: str) -> Job:
        """Pauses a job; a repeat changes nothing.

        What runs stops at its next checkpoint and frees its worker; the job is `PAUSED` after that.
        """
        return await self.run(calls.pause_job(job_id))

    async def resume(self, job_id: str) -> Job:
        """Lets a paused job go on from its last checkpoint; changes nothing when it is not paused."""
        return await self.run(calls.resume_job(job_id))

    def watch(self, job_id: str, after: int = 0, timeout_seconds: float | None = None) -> AsyncIterator[Job | Event]:
        """Snapshots and events of a job until it is terminal; the last item is its last snapshot.

        A paused job is not terminal: this waits until somebody resumes or cancels it.
        A lost connection is resumed: every event with a sequence above `after` comes once, in order.

        Raises:
            DeadlineError: the job did not end within `timeout_seconds`.
        """
        return self._subscribe(streams.watch_job(job_id, after, self._patience_seconds), timeout_seconds)

    async def wait(self, job_id: str, timeout_seconds: float | None = None) -> Job:
        """The job, once it is terminal.

        Raises:
            DeadlineError: it did not end within `timeout_seconds`.
        """
        async for _ in self.watch(job_id, timeout_seconds=timeout_seconds):
            pass
        return await self.get(job_id)

    async def events(self, after: int = 0, job: str | None = None, follow: bool = False) -> AsyncIterator[Event]:
        """Events with a sequence above `after`, of one job or of the whole project; with `follow` without an end."""
        if follow:
            async for event in self._subscribe(streams.subscribe_events(after, job, self._patience_seconds), None):
                yield event
        else:
            for event in await self.run(calls.list_events(after, job)):
                yield event

    async def chat(
        self,
        deployment: str,
        prompt: Prompt,
        *,
        max_new_tokens: int = 0,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        tools: Tools = (),
        tool_choice: str = "auto",
        timeout_seconds: float = 300.0,
    ) -> ChatAnswer:
        """Asks a deployment (id or name) and waits for the whole answer.

        Args:
            deployment: its id or name.
            prompt: a question, or a conversation in OpenAI's form, with calls and their results if it has some.
            max_new_tokens: 0: the deployment's own limit.
            temperature: 0: greedy.
            top_p: nucleus of the sampling.
            seed: makes sampling repeatable.
            tools: what the model may call, in OpenAI's form: `[{"type": "function", "function": {...}}]`.
            tool_choice: `auto`, or `none`: the model is not told of them.
            timeout_seconds: for the whole answer.

        Raises:
            InvalidRequestError: messages, tools or options are wrong; the message names the place.
        """
        sampling = Sampling(max_new_tokens, temperature, top_p, seed)
        call = chats.chat(deployment, prompt, sampling, tools, tool_choice)
        return chats.answer_of([chunk async for chunk in self._chunks(call, timeout_seconds)])

    def chat_stream(
        self,
        deployment: str,
        prompt: Prompt,
        *,
        max_new_tokens: int = 0,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        tools: Tools = (),
        tool_choice: str = "auto",
        timeout_seconds: float = 300.0,
    ) -> AsyncIterator[ChatChunk]:
        """The same, piece by piece as it is generated."""
        sampling = Sampling(max_new_tokens, temperature, top_p, seed)
        call = chats.chat(deployment, prompt, sampling, tools, tool_choice)
        return self._chunks(call, timeout_seconds)

    async def run(self, flow: Flow[T]) -> T:
        """Makes the calls of a flow and returns its result."""
        response: Any = None
        while True:
            try:
                call = flow.send(response)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            response = await self._unary(call)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _unary(self, call: Call) -> Any:
        invoke = self._channel.unary_unary(
            f"/luthier.v1.{call.method}",
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        try:
            return await invoke(call.request, timeout=self._timeout_seconds, metadata=self._connection.metadata())
        except grpc.aio.AioRpcError as error:
            raise self._connection.error_of(error.code(), error.details() or "") from error

    def _open(self, call: Call, timeout_seconds: float | None) -> Any:
        invoke = self._channel.unary_stream(
            f"/luthier.v1.{call.method}",
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        return invoke(call.request, timeout=timeout_seconds, metadata=self._connection.metadata())

    async def _chunks(self, call: Call, timeout_seconds: float) -> AsyncIterator[ChatChunk]:
        stream = self._open(call, timeout_seconds)
        try:
            async for message in stream:
                yield chunk_of(message)
        except grpc.aio.AioRpcError as error:
            raise self._connection.error_of(error.code(), error.details() or "") from error
        finally:
            stream.cancel()

    async def _subscribe(
        self, subscription: streams.Subscription[T], timeout_seconds: float | None
    ) -> AsyncIterator[T]:
        loop = asyncio.get_running_loop()
        end = None if timeout_seconds is None else loop.time() + timeout_seconds
        while True:
            stream = self._open(subscription.next_call(), None if end is None else max(0.0, end - loop.time()))
            try:
                async for message in stream:
                    for item in subscription.receive(message):
                        yield item
                if subscription.is_complete:
                    return
                code, details = grpc.StatusCode.UNAVAILABLE, "the stream ended early"
            except grpc.aio.AioRpcError as error:
                code, details = error.code(), error.details() or ""
            finally:
                stream.cancel()
            delay = subscription.delay_after(code)
            if delay is None:
                raise self._connection.error_of(code, details)
            await asyncio.sleep(delay)


class AsyncModels:
    """`client.models`: exported models."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, model_id: str) -> Model:
        """One model."""
        return await self._client.run(calls.get_model(model_id))

    async def list(self, limit: int = 50) -> list[Model]:
        """The newest models, newest first."""
        return await self._client.run(calls.list_models(limit))


class AsyncDeployments:
    """`client.deployments`: models in Triton."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, deployment: str) -> Deployment:
        """One deployment, by id or name."""
        return await self._client.run(calls.get_deployment(deployment))

    async def list(self, limit: int = 50) -> list[Deployment]:
        """The newest deployments, newest first."""
        return await self._client.run(calls.list_deployments(limit))
