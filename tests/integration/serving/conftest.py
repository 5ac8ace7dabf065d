"""A real Triton server over an empty repository, and exported models to put into it."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import InferenceServerClient

from luthier.artifacts import publish
from luthier.local.serving_venv import ensure_serving_venv
from luthier.local.triton import TritonPorts, triton_child
from luthier.settings import LocalSettings, WorkerSettings
from luthier.spec import JobSpec
from luthier.v1 import access_service_pb2, access_service_pb2_grpc, deployment_service_pb2, deployment_service_pb2_grpc
from luthier.v1.deployment_pb2 import Deployment
from luthier.v1.stage_pb2 import Artifact, Stage, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.deployment.repository import remove
from workers.deployment.triton import Triton
from workers.export.triton import write_repository
from workers.task import Task

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True)
class RunningTriton:
    """Where it answers and what it reads."""

    url: str
    repository: Path

    def ready_models(self) -> set[str]:
        """Names of the models that take requests."""
        with InferenceServerClient(self.url) as client:
            return {model.name for model in client.get_model_repository_index().models if model.state == "READY"}


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[RunningTriton]:
    """The server of the local stack, for the whole session. Tests leave its repository as they found it."""
    folder = tmp_path_factory.mktemp("triton")
    configured = LocalSettings().serving_venv
    venv = ensure_serving_venv(configured if configured != Path() else REPOSITORY / ".venv-serving", print)
    ports = TritonPorts(grpc=free_port(), http=free_port(), metrics=free_port())
    child = triton_child(venv, folder / "repository", ports, folder / "triton.log", {**os.environ})

    async def answers(process: "subprocess.Popen[bytes]") -> None:
        async with asyncio.timeout(60):
            while not await child.answers():
                assert process.poll() is None, child.log.read_text()
                await asyncio.sleep(0.05)

    with child.log.open("wb") as log:
        process = subprocess.Popen(child.argv, env=dict(child.environment), stdout=log, stderr=log)
        try:
            asyncio.run(answers(process))
            yield RunningTriton(f"127.0.0.1:{ports.grpc}", folder / "repository")
        finally:
            process.terminate()
            process.wait(30)


class Reported:
    """A Report that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        assert 0 <= step <= num_steps
        self.messages.append(message)

    def metrics(self, step: int, values: object) -> None:
        raise AssertionError("deploy reports no metrics by step")

    def checkpoint(self, ref: object, step: int) -> None:
        raise AssertionError("deploy has no checkpoints")

    def retire(self, uris: object) -> None:
        raise AssertionError("deploy has no checkpoints")

    def should_stop(self) -> bool:
        return False


@pytest.fixture
def deploy_task(tmp_path: Path, triton: RunningTriton) -> Callable[..., Task]:
    """A function that exports a merged model under a name and returns the deploy task for it."""

    def make(merged: Path, name: str, triton_url: str = triton.url, **deploy: object) -> Task:
        number = len(list(tmp_path.glob("export-*")))
        folder = tmp_path / f"staging-{number}"
        write_repository(merged, folder / "triton", name, max_new_tokens=8)
        ref = publish(folder, str(tmp_path / f"export-{number}"))
        outputs = StageOutputs(
            artifact=Artifact(uri=ref.uri, digest=ref.digest), result_json=json.dumps({"triton_model": name})
        )
        spec = {"name": "demo", "base_model": "tiny", "data": {"path": "/rows.jsonl"}, "deploy": deploy}
        return Task(
            assignment=StageAssignment(stage=Stage(name="deploy", kind="deploy"), inputs={"export": outputs}),
            spec=JobSpec.model_validate(spec),
            settings=WorkerSettings(triton_url=triton_url, triton_repository=triton.repository),
            work_dir=tmp_path / f"work-{number}",
        )

    return make


@pytest.fixture
def clean_triton(triton: RunningTriton) -> Iterator[RunningTriton]:
    """The server, with nothing left in it afterwards."""
    yield triton
    with Triton(triton.url) as client:
        for name in triton.ready_models():
            client.discard(name)
    for folder in triton.repository.iterdir():
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def served_model(triton: RunningTriton, tiny_model_dir: Path) -> Iterator[str]:
    """Name of the tiny model inside Triton; answers have 8 tokens unless a request says otherwise."""
    name = "served-1"
    write_repository(tiny_model_dir, triton.repository, name, max_new_tokens=8)
    with Triton(triton.url) as client:
        client.load(name, 60)
        yield name
        client.discard(name)
    remove(triton.repository, name)


@dataclass
class Coordinator(access_service_pb2_grpc.AccessServiceServicer, deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Knows one project and its deployments."""

    deployments: dict[str, Deployment] = field(default_factory=dict)
    asked_for: list[tuple[str, str]] = field(default_factory=list)

    async def AuthenticateApiKey(self, request, context):
        principal = access_service_pb2.Principal(key_id="key_1", project_id="prj_1", permissions=["inference.chat"])
        return access_service_pb2.AuthenticateApiKeyResponse(principal=principal)

    async def GetDeployment(self, request, context):
        sent = dict(context.invocation_metadata())
        self.asked_for.append((sent["x-luthier-project"], request.deployment_id))
        if request.deployment_id not in self.deployments:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no deployment {request.deployment_id!r}")
        return deployment_service_pb2.GetDeploymentResponse(deployment=self.deployments[request.deployment_id])


@pytest.fixture
async def coordinator() -> AsyncIterator[tuple[Coordinator, str]]:
    """The coordinator and its address."""
    servicer = Coordinator()
    server = grpc.aio.server()
    access_service_pb2_grpc.add_AccessServiceServicer_to_server(servicer, server)
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(0)


def active(triton_model: str) -> Deployment:
    return Deployment(deployment_id="dep_1", state=Deployment.STATE_ACTIVE, triton_model=triton_model)
