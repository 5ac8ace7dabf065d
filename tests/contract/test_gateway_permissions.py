"""The permission table and the public services are the same set, seen from the descriptors."""

import importlib
import pkgutil

import luthier.v1
from gateway.auth import OPEN_METHODS, PERMISSIONS
from gateway.proxy import FORWARDED_SERVICES

INTERNAL = {"luthier.v1.WorkerService", "luthier.v1.AccessService"}
OF_LIBRARIES = {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}


def services():
    for module in pkgutil.iter_modules(luthier.v1.__path__):
        if module.name.endswith("_service_pb2"):
            descriptor = importlib.import_module(f"luthier.v1.{module.name}").DESCRIPTOR
            yield from descriptor.services_by_name.values()


def methods(internal):
    return {
        f"/{service.full_name}/{method.name}"
        for service in services()
        for method in service.methods
        if (service.full_name in INTERNAL) is internal
    }


def test_every_method_of_every_public_service_has_a_permission():
    assert methods(internal=False) == set(PERMISSIONS) - OF_LIBRARIES


def test_no_internal_method_has_one():
    assert methods(internal=True)
    assert not methods(internal=True) & (set(PERMISSIONS) | OPEN_METHODS)


def test_every_public_service_is_forwarded_or_served_here():
    public = {service.full_name for service in services()} - INTERNAL
    assert {service.full_name for service in FORWARDED_SERVICES} == public - {"luthier.v1.InferenceService"}
