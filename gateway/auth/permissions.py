"""Which permission each public method needs. A method without a row is denied, whoever asks.

A key may have `*` instead, which is everything within its project, and `admin.*`, which is everything that concerns
the installation and so every project.
"""

from luthier.errors import PermissionDeniedError
from luthier.v1.access_service_pb2 import Principal

ANY_KEY = ""
"""Every valid key may call the method."""

PERMISSIONS: dict[str, str] = {
    "/luthier.v1.ProjectService/GetProject": "projects.get",
    "/luthier.v1.JobService/CreateJob": "jobs.create",
    "/luthier.v1.JobService/GetJob": "jobs.get",
    "/luthier.v1.JobService/ListJobs": "jobs.list",
    "/luthier.v1.JobService/CancelJob": "jobs.cancel",
    "/luthier.v1.JobService/PauseJob": "jobs.pause",
    "/luthier.v1.JobService/ResumeJob": "jobs.pause",
    "/luthier.v1.JobService/WatchJob": "jobs.get",
    "/luthier.v1.JobService/ListJobMetrics": "jobs.get",
    "/luthier.v1.ModelService/GetModel": "models.get",
    "/luthier.v1.ModelService/ListModels": "models.list",
    "/luthier.v1.DatasetService/ListDatasetVersions": "datasets.list",
    "/luthier.v1.DatasetService/PruneDatasetVersions": "datasets.prune",
    "/luthier.v1.DeploymentService/GetDeployment": "deployments.get",
    "/luthier.v1.DeploymentService/ListDeployments": "deployments.list",
    "/luthier.v1.EventService/ListEvents": "events.list",
    "/luthier.v1.EventService/SubscribeEvents": "events.list",
    "/luthier.v1.AdminService/ListWorkers": "admin.workers.list",
    "/luthier.v1.AdminService/ReleaseWorker": "admin.workers.release",
    "/luthier.v1.AdminService/ListDeadLetters": "admin.dead_letters.list",
    "/luthier.v1.AdminService/RetryDeadLetter": "admin.dead_letters.retry",
    "/luthier.v1.InferenceService/Chat": "inference.chat",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ANY_KEY,
}

OPEN_METHODS = frozenset({"/grpc.health.v1.Health/Check"})
"""Answered without a key, because a load balancer has none."""


def check_permission(principal: Principal, method: str) -> None:
    """Lets `principal` call `method` (`/package.Service/Method`), or refuses.

    Raises:
        PermissionDeniedError: the key lacks the permission, or the method has no row.
    """
    needed = PERMISSIONS.get(method)
    if needed is None:
        raise PermissionDeniedError("this method is not public")
    everything = "admin.*" if needed.startswith("admin.") else "*"
    if needed != ANY_KEY and needed not in principal.permissions and everything not in principal.permissions:
        raise PermissionDeniedError(f"the API key lacks the permission {needed!r}")
