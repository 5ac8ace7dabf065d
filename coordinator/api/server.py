"""The gRPC server: services, interceptors, health and reflection, put together in one place."""

from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from coordinator.api.access import AccessService
from coordinator.api.admin import AdminService
from coordinator.api.datasets import DatasetService
from coordinator.api.deployments import DeploymentService
from coordinator.api.events import EventService
from coordinator.api.health import Health
from coordinator.api.interceptors import Errors, InternalToken
from coordinator.api.jobs import JobService
from coordinator.api.models import ModelService
from coordinator.api.projects import ProjectService
from coordinator.api.workers import WorkerService
from coordinator.store.engine import Database
from coordinator.store.jobs import PostgresJobs
from coordinator.store.notifications import Notifications
from coordinator.terms import Terms
from luthier import telemetry
from luthier.transport import SERVER_OPTIONS
from luthier.v1 import (
    access_service_pb2_grpc,
    admin_service_pb2_grpc,
    dataset_service_pb2_grpc,
    deployment_service_pb2_grpc,
    event_service_pb2_grpc,
    job_service_pb2_grpc,
    model_service_pb2_grpc,
    project_service_pb2_grpc,
    worker_service_pb2_grpc,
)

SERVICES = tuple(
    f"luthier.v1.{name}"
    for name in (
        "AccessService",
        "AdminService",
        "DatasetService",
        "DeploymentService",
        "EventService",
        "JobService",
        "ModelService",
        "ProjectService",
        "WorkerService",
    )
)


def make_server(
    database: Database,
    notifications: Notifications,
    health: Health,
    *,
    token: str,
    terms: Terms,
) -> grpc.aio.Server:
    """A server with everything registered and no port yet."""
    traced = aio_server_interceptor(filter_=_is_traced(has_detail=telemetry.is_exporting()))
    store = PostgresJobs(database)
    server = grpc.aio.server(interceptors=[traced, InternalToken(token), Errors()], options=SERVER_OPTIONS)
    access_service_pb2_grpc.add_AccessServiceServicer_to_server(AccessService(database), server)
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(AdminService(database, store), server)
    dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server(DatasetService(database, terms.artifacts), server)
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(DeploymentService(database), server)
    event_service_pb2_grpc.add_EventServiceServicer_to_server(EventService(database, notifications), server)
    job_service_pb2_grpc.add_JobServiceServicer_to_server(JobService(database, store, notifications), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(database), server)
    project_service_pb2_grpc.add_ProjectServiceServicer_to_server(ProjectService(database), server)
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerService(database, store, terms), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    reflection.enable_server_reflection([*SERVICES, "grpc.health.v1.Health", reflection.SERVICE_NAME], server)
    return server


def _is_traced(*, has_detail: bool) -> Callable[[grpc.HandlerCallDetails], bool]:
    """Which calls get a span: ours only, because a probe every second is no trace, and Health.Watch cannot be wrapped.

    Without `has_detail` those of workers get none: no trace begins there, and there are many of them.
    """
    left_out = () if has_detail else ("/luthier.v1.WorkerService/",)
    return lambda call: call.method.startswith("/luthier.v1.") and not call.method.startswith(left_out)
