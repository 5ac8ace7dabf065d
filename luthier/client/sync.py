"""The blocking client. Safe to use from several threads."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from opentelemetry.instrumentation.grpc import client_interceptor
from opentelemetry.instrumentation.grpc.grpcext import intercept_channel

from luthier import telemetry
from luthier.client import calls, chats, streams
from luthier.client.admin import DeadLetters, Workers
from luthier.client.calls import Call, Flow, JobLike
from luthier.client.chats import Prompt, Sampling, Tools
from luthier.client.connection import CHANNEL_OPTIONS, find_connection
from luthier.client.convert import chunk_of
from luthier.client.datasets import Datasets
from luthier.client.types import ChatAnswer, ChatChunk, Deployment, Event, Job, MetricPoint, Model
from luthier.settings import ClientSettings

T = TypeVar("T")


class Client:
    """Talks to a gateway. Every method raises a `luthier.errors.LuthierError` when it does not succeed.

    Use it as a context manager, or call `close`.
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
        self._channel = grpc.insecure_channel(self._connection.target, options=CHANNEL_OPTIONS)
        # Streams go untraced by the library: its spans would stay current between two messages.
        self._traced: grpc.Channel = intercept_channel(self._channel, client_interceptor())
        self.models = Models(self)
        self.deployments = Deployments(self)
        self.datasets = Datasets(self)
        self.workers = Workers(self)
        self.dead_letters = DeadLetters(self)

    def submit(self, job: JobLike, request_id: str | None = None) -> Job:
        """Submits a job: a path, a mapping with its content, or a checked spec. The trace of the job begins here.

        Args:
            job: relative paths in it count from the file's folder, else from the working directory.
            request_id: a second call with the same id returns the same job.

        Raises:
            InvalidSpecError: the job file is wrong; every fault is named and nothing was sent.
        """
        spec = calls.spec_of(job)
        with telemetry.span("submit job", job_name=spec.name):
            return self.run(calls.create_job(spec, request_id))

    def get(self, job_id: str) -> Job:
        """One job."""
        return self.run(calls.get_job(job_id))

    def metrics(self, job_id: str, stage: str | None = None, limit: int = 100_000) -> list[MetricPoint]:
        """Recorded metrics of a job, oldest first."""
        return self.run(calls.list_metrics(job_id, stage, limit))

    def list(self, limit: int = 50) -> list[Job]:
        """The newest jobs, newest first."""
        return self.run(calls.list_jobs(limit))

    def cancel(self, job_id: str) -> Job:
        """Cancels a job; a repeat changes nothing."""
        return self.run(calls.cancel_job(job_id))

    def pause(self, job_id: str) -> Job:
        """Pauses a job; a repeat changes nothing.

        What runs stops at its next checkpoint and frees its worker; the job is `PAUSED` after that.
        """
        return self.run(calls.pause_job(job_id))

    def resume(self, job_id: str) -> Job:
        """Lets a paused job go on from its last checkpoint; changes nothing when it is not paused."""
        return self.run(calls.resume_job(job_id))

    def watch(self, job_id: str, after: int = 0, timeout_seconds: float | None = None) -> Iterator[Job | Event]:
        """Snapshots and events of a job until it is terminal; the last item is its last snapshot.

        A paused job is not terminal: this waits until somebody resumes or cancels it.
        A lost connection is resumed: every event with a sequence above `after` comes once, in order.

        Raises:
            DeadlineError: the job did not end within `timeout_seconds`.
        """
        return self._subscribe(streams.watch_job(job_id, after, self._patience_seconds), timeout_seconds)

    def wait(self, job_id: str, timeout_seconds: float | None = None) -> Job:
        """The job, once it is terminal.

        Raises:
            DeadlineError: it did not end within `timeout_seconds`.
        """
        for _ in self.watch(job_id, timeout_seconds=timeout_seconds):
            pass
        return self.get(job_id)

    def events(self, after: int = 0, job: str | None = None, follow: bool = False) -> Iterator[Event]:
        """Events with a sequence above `after`, of one job or of the whole project; with `follow` without an end."""
        if follow:
            return self._subscribe(streams.subscribe_events(after, job, self._patience_seconds), None)
        return iter(self.run(calls.list_events(after, job)))

    def chat(
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
        return chats.answer_of(self._chunks(call, timeout_seconds))

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
    ) -> Iterator[ChatChunk]:
        """The same, piece by piece as it is generated."""
        sampling = Sampling(max_new_tokens, temperature, top_p, seed)
        call = chats.chat(deployment, prompt, sampling, tools, tool_choice)
        return self._chunks(call, timeout_seconds)

    def run(self, flow: Flow[T]) -> T:
        """Makes the calls of a flow and returns its result."""
        response: Any = None
        while True:
            try:
                call = flow.send(response)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            response = self._unary(call)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _unary(self, call: Call) -> Any:
        invoke = self._traced.unary_unary(
            f"/luthier.v1.{call.method}",
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        try:
            return invoke(call.request, timeout=self._timeout_seconds, metadata=self._connection.metadata())
        except grpc.RpcError as error:
            raise self._connection.error_of(error.code(), error.details() or "") from error

    def _open(self, call: Call, timeout_seconds: float | None) -> Any:
        invoke = self._channel.unary_stream(
            f"/luthier.v1.{call.method}",
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        return invoke(call.request, timeout=timeout_seconds, metadata=self._connection.metadata())

    def _chunks(self, call: Call, timeout_seconds: float) -> Iterator[ChatChunk]:
        stream = self._open(call, timeout_seconds)
        try:
            for message in stream:
                yield chunk_of(message)
        except grpc.RpcError as error:
            raise self._connection.error_of(error.code(), error.details() or "") from error
        finally:
            stream.cancel()

    def _subscribe(self, subscription: streams.Subscription[T], timeout_seconds: float | None) -> Iterator[T]:
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            stream = self._open(subscription.next_call(), None if end is None else max(0.0, end - time.monotonic()))
            try:
                for message in stream:
                    yield from subscription.receive(message)
                if subscription.is_complete:
                    return
                code, details = grpc.StatusCode.UNAVAILABLE, "the stream ended early"
            except grpc.RpcError as error:
                code, details = error.code(), error.details() or ""
            finally:
                stream.cancel()
            delay = subscription.delay_after(code)
            if delay is None:
                raise self._connection.error_of(code, details)
            time.sleep(delay)


class Models:
    """`client.models`: exported models."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, model_id: str) -> Model:
        """One model."""
        return self._client.run(calls.get_model(model_id))

    def list(self, limit: int = 50) -> list[Model]:
        """The newest models, newest first."""
        return self._client.run(calls.list_models(limit))


class Deployments:
    """`client.deployments`: models in Triton."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, deployment: str) -> Deployment:
        """One deployment, by id or name."""
        return self._client.run(calls.get_deployment(deployment))

    def list(self, limit: int = 50) -> list[Deployment]:
        """The newest deployments, newest first."""
        return self._client.run(calls.list_deployments(limit))
