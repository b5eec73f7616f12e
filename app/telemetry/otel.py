"""Spans by OpenTelemetry, sent over OTLP/HTTP by a thread of its own.

Nothing here waits for the receiver: what a full queue cannot take is dropped, and the end of the
process waits for `CLOSE_SECONDS` at most.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.telemetry.tracing import Phase

CLOSE_SECONDS = 2.0
SECOND = 10**9
"""Nanoseconds."""

_CONTEXT = TraceContextTextMapPropagator()


class OtelRequestSpan:
    """The span of one request."""

    def __init__(self, span: Span) -> None:
        self.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        self._span = span

    def answer(self, status: int) -> None:
        """Note the answer's status; one that is the service's fault is an error."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))

    def name(self, name: str, route: str) -> None:
        """Name the span by the request's route."""
        self._span.update_name(name)
        self._span.set_attribute("http.route", route)


class OtelSpans:
    """Where spans go: to the endpoint that the standard variables name.

    Attributes:
        service: what the process is called.
    """

    def __init__(self, service: str) -> None:
        resource = _resource(service)
        self.service = str(resource.attributes["service.name"])
        # Its own hook at the interpreter's exit would wait for the receiver much longer than ours.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("sats", version("sats"))

    @contextmanager
    def request(
        self, headers: Mapping[str, str], attributes: Mapping[str, str]
    ) -> Iterator[OtelRequestSpan]:
        """Open the span of a request, under the caller's where `headers` name one."""
        names = ("traceparent", "tracestate")
        context = _CONTEXT.extract({name: headers[name] for name in names if name in headers})
        with self._tracer.start_as_current_span(
            attributes["http.request.method"],
            context,
            kind=SpanKind.SERVER,
            attributes=dict(attributes),
        ) as span:
            yield OtelRequestSpan(span)

    def stages(self, attributes: Mapping[str, str | int], seconds: Mapping[str, float]) -> None:
        """Add spans, one after another and the last one ending now, to the request's."""
        if not trace.get_current_span().is_recording():
            return
        began = time.time_ns() - round(sum(seconds.values()) * SECOND)
        for name, took in seconds.items():
            span = self._tracer.start_span(name, start_time=began, attributes=dict(attributes))
            began += round(took * SECOND)
            span.end(began)

    def task(
        self,
        attributes: Mapping[str, str | int],
        phases: Sequence[Phase],
        *,
        posted_by: str | None,
        error: str | None,
    ) -> None:
        """Add a trace of a task, linked with the request that posted it."""
        if not phases:
            return
        whole = self._tracer.start_span(
            "task",
            trace.set_span_in_context(trace.INVALID_SPAN),
            kind=SpanKind.CONSUMER,
            attributes=dict(attributes),
            links=_links(posted_by),
            start_time=_nanoseconds(phases[0].began),
        )
        if error is not None:
            whole.set_status(Status(StatusCode.ERROR, error))
        inside = trace.set_span_in_context(whole)
        for phase in phases:
            began, ended = _nanoseconds(phase.began), _nanoseconds(phase.ended)
            self._tracer.start_span(phase.name, inside, start_time=began).end(ended)
        whole.end(_nanoseconds(phases[-1].ended))

    def traceparent(self) -> str | None:
        """Return the current span as W3C's header names it; None where there is none."""
        carrier: dict[str, str] = {}
        _CONTEXT.inject(carrier)
        return carrier.get("traceparent")

    def close(self) -> None:
        """Send what is left, for `CLOSE_SECONDS` at most."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def _resource(service: str) -> Resource:
    found = Resource.create()
    if str(found.attributes["service.name"]).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": service}))
    return found.merge(Resource({"service.version": version("sats")}))


def _links(traceparent: str | None) -> list[Link]:
    if traceparent is None:
        return []
    posted = trace.get_current_span(_CONTEXT.extract({"traceparent": traceparent}))
    context = posted.get_span_context()
    return [Link(context)] if context.is_valid else []


def _nanoseconds(when: datetime) -> int:
    return round(when.timestamp() * SECOND)
