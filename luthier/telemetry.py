"""Traces and logs of every process: one call in its `__main__`, then plain `tracer()` and `logging`.

A trace starts in the client and is carried through gRPC metadata, event headers and `task.json`, so one trace id
spans submit to deploy. Spans leave the process only when `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, propagate, trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pythonjsonlogger.json import JsonFormatter

from luthier.settings import Settings, TelemetrySettings

TRACEPARENT = "traceparent"
_ADVISERS = ("bitsandbytes.backends.cpu.ops",)
"""Loggers that warn, whenever they are imported, of packages that would be quicker where they are not even used."""
_QUOTERS = ("httpx", "httpcore", "urllib3")
"""Loggers that tell of every request with its whole URL, in which there may be a signature."""


def start(service: str, settings: Settings) -> None:
    """Sets up logging to stderr and, when an OTLP endpoint is set, the export of spans of `service`."""
    _start_logging(service, settings)
    propagate.set_global_textmap(TraceContextTextMapPropagator())
    from importlib.metadata import version

    resource = Resource.create({SERVICE_NAME: f"luthier-{service}", SERVICE_VERSION: version("luthier")})
    provider = TracerProvider(resource=resource)
    if is_exporting():
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def stop() -> None:
    """Sends the spans that are still held. Call it last."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.shutdown()


def is_exporting() -> bool:
    """Whether spans go anywhere; what would only add detail to a trace is left out when not."""
    return bool(TelemetrySettings().otel_exporter_otlp_endpoint)


def tracer() -> Tracer:
    """The tracer of our own spans."""
    return trace.get_tracer("luthier")


def current_traceparent() -> str:
    """W3C `traceparent` of the current span; empty outside of any."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(TRACEPARENT, "")


def trace_id_of(traceparent: str) -> str:
    """The 32 hex digits of the trace that `traceparent` belongs to; empty when it names none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""


@contextmanager
def span(name: str, traceparent: str = "", **attributes: str | int | float | bool) -> Iterator[Span]:
    """A span under `traceparent`, or under the current one when that is empty."""
    parent: context.Context | None = None
    if traceparent:
        parent = TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent})
    with tracer().start_as_current_span(name, context=parent, attributes=attributes) as current:
        yield current


class _TraceIds(logging.Filter):
    """Adds the ids of the current span to every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        ids = trace.get_current_span().get_span_context()
        record.trace_id = f"{ids.trace_id:032x}" if ids.is_valid else ""
        record.span_id = f"{ids.span_id:016x}" if ids.is_valid else ""
        return True


def _start_logging(service: str, settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_TraceIds())
    if settings.log_format == "json":
        fields = "%(asctime)s %(levelname)s %(name)s %(message)s %(trace_id)s %(span_id)s"
        handler.setFormatter(
            JsonFormatter(
                fields,
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                static_fields={"service": service},
            )
        )
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {service} %(name)s: %(message)s"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for name in _ADVISERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in _QUOTERS:
        logging.getLogger(name).setLevel(logging.WARNING)
