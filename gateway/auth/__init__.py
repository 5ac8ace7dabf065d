"""Who calls, and what they may do: decided before the first byte of a request is read."""

from gateway.auth.interceptor import AuthInterceptor
from gateway.auth.keys import ApiKeys
from gateway.auth.permissions import OPEN_METHODS, PERMISSIONS
from gateway.auth.principal import current_principal, internal_metadata

__all__ = ["OPEN_METHODS", "PERMISSIONS", "ApiKeys", "AuthInterceptor", "current_principal", "internal_metadata"]
