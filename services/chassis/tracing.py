"""Distributed tracing: the only module that speaks OpenTelemetry.

A trace crosses every boundary as a W3C carrier (`traceparent`, `tracestate`): HTTP headers, gRPC metadata, a field of
the first WebSocket message, a column of the job ledger, an argument of a remote function.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Attribute = str | bool | int | float
Kind = Literal["internal", "client", "server", "producer", "consumer"]

_KINDS = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_propagator = TraceContextTextMapPropagator()
_provider = TracerProvider(resource=Resource({"service.name": "unnamed"}))


class Span:
    """A span under way."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, key: str, value: Attribute) -> None:
        """Sets an attribute."""
        self._span.set_attribute(key, value)

    def rename(self, name: str) -> None:
        """Names the span once its route is known."""
        self._span.update_name(name)

    def fail(self, description: str) -> None:
        """Marks the span failed without an exception."""
        self._span.set_status(Status(StatusCode.ERROR, description))


class FileExporter(SpanExporter):
    """Appends spans as JSON lines to a file, so that a trace can be read with no backend."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        lines = "".join(json.dumps(_record(span), default=str) + "\n" for span in spans)
        with self._lock:
            if not self._file.closed:
                self._file.write(lines)
                self._file.flush()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        with self._lock:
            self._file.close()


def _record(span: ReadableSpan) -> dict[str, object]:
    identity = span.get_span_context()
    return {
        "trace_id": f"{identity.trace_id:032x}" if identity else "",
        "span_id": f"{identity.span_id:016x}" if identity else "",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "name": span.name,
        "service": span.resource.attributes.get("service.name"),
        "kind": span.kind.name.lower(),
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "status": span.status.status_code.name.lower(),
        "description": span.status.description,
        "attributes": dict(span.attributes or {}),
    }


def setup(service: str, environment: str, *, otlp_endpoint: str = "", trace_dir: Path | None = None) -> None:
    """Names the process in every span, and says where spans go: an OTLP/HTTP endpoint, a folder, both or nowhere."""
    global _provider
    attributes: dict[str, str] = {
        "service.name": service,
        "service.namespace": "reel-ballers",
        "deployment.environment.name": environment,
    }
    provider = TracerProvider(resource=Resource(attributes), shutdown_on_exit=False)
    if trace_dir is not None:
        # Written as each span ends: a killed process leaves all but its open spans.
        provider.add_span_processor(SimpleSpanProcessor(FileExporter(trace_dir / f"{service}.jsonl")))
    if otlp_endpoint:
        # Imported only when used: it costs 10 MB and 60 ms.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=5)
        provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=5000))
    _provider = provider


def shutdown() -> None:
    """Sends what is still buffered; call once, last. Waits at most some seconds."""
    _provider.force_flush(5000)
    _provider.shutdown()


@contextmanager
def span(
    name: str,
    *,
    kind: Kind = "internal",
    attributes: Mapping[str, Attribute] | None = None,
    parent: Mapping[str, str] | None = None,
) -> Iterator[Span]:
    """A span around what is inside; an exception marks it failed and goes on.

    `parent` is a W3C carrier from another process; None continues the current span, an empty or unreadable one begins
    a trace.
    """
    context = None if parent is None else _propagator.extract(parent, context=otel_context.Context())
    tracer = _provider.get_tracer("reel")
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=_KINDS[kind],
        attributes=dict(attributes or {}),
        record_exception=False,
        set_status_on_exception=False,
    ) as started:
        try:
            yield Span(started)
        except BaseException as error:
            started.set_attribute("error.type", type(error).__name__)
            started.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"[:500]))
            raise


class OpenSpan(Span):
    """A span that is nobody's current one, for work that spans yields; `end` ends it."""

    def carrier(self) -> dict[str, str]:
        """Its W3C headers."""
        headers: dict[str, str] = {}
        _propagator.inject(headers, context=trace.set_span_in_context(self._span))
        return headers

    def end(self) -> None:
        """Ends it."""
        self._span.end()


def start(name: str, *, kind: Kind = "internal", attributes: Mapping[str, Attribute] | None = None) -> OpenSpan:
    """A child of the current span that does not become current itself."""
    tracer = _provider.get_tracer("reel")
    return OpenSpan(tracer.start_span(name, kind=_KINDS[kind], attributes=dict(attributes or {})))


@contextmanager
def attached(parent: Mapping[str, str]) -> Iterator[None]:
    """What is inside belongs to the trace of the carrier, without a span of its own."""
    token = otel_context.attach(_propagator.extract(parent, context=otel_context.Context()))
    try:
        yield
    finally:
        otel_context.detach(token)


def carrier() -> dict[str, str]:
    """The current span as W3C headers; empty without one."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers


def current_ids() -> tuple[str, str]:
    """Trace id (32 hex digits) and span id (16) of the current span; empty strings without one."""
    identity = trace.get_current_span().get_span_context()
    if not identity.is_valid:
        return "", ""
    return f"{identity.trace_id:032x}", f"{identity.span_id:016x}"


def trace_id() -> str:
    """The current trace's id, 32 hex digits; empty without one."""
    return current_ids()[0]
