"""Traces by OpenTelemetry: switched on by its standard variables and by nothing else.

Without them nothing of OpenTelemetry is imported, and what stands here does nothing. Where spans
go is the business of `app.telemetry.otel`; whoever traces calls this module.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"

log = structlog.get_logger(__name__)


class RequestSpan(Protocol):
    """The span of one request."""

    trace_id: str
    """32 hexadecimal digits."""

    def answer(self, status: int) -> None:
        """Note the answer's status."""

    def name(self, name: str, route: str) -> None:
        """Name the span by the request's route."""


@dataclass(frozen=True)
class Phase:
    """A part of a task's life that is over."""

    name: str
    began: datetime
    ended: datetime


class Spans(Protocol):
    """Where spans go."""

    def request(
        self, headers: Mapping[str, str], attributes: Mapping[str, str]
    ) -> AbstractContextManager[RequestSpan]:
        """Open the span of a request, under the caller's where `headers` name one."""

    def stages(self, attributes: Mapping[str, str | int], seconds: Mapping[str, float]) -> None:
        """Add spans, one after another and the last one ending now, to the request's."""

    def task(
        self,
        attributes: Mapping[str, str | int],
        phases: Sequence[Phase],
        *,
        posted_by: str | None,
        error: str | None,
    ) -> None:
        """Add a trace of a task, linked with the request that posted it."""

    def traceparent(self) -> str | None:
        """Return the current span as W3C's header names it; None where nothing is traced."""

    def close(self) -> None:
        """Send what is left, for a bounded time."""


_spans: Spans | None = None


def start(service: str) -> None:
    """Trace from now on, if the variables say so; what keeps it from tracing is logged.

    Args:
        service: what the process is called where no variable names it.
    """
    global _spans
    if _spans is None and _wanted():
        _spans = _opened(service)


def stop() -> None:
    """Trace no more."""
    global _spans
    spans, _spans = _spans, None
    if spans is not None:
        spans.close()


def current() -> Spans | None:
    """Return where spans go; None where nothing is traced."""
    return _spans


def traceparent() -> str | None:
    """Return what names the current span to others; None where nothing is traced."""
    return None if _spans is None else _spans.traceparent()


def _wanted() -> bool:
    given = os.environ
    exporters = given.get("OTEL_TRACES_EXPORTER") or "otlp"
    return (
        any(given.get(name) for name in ENDPOINTS)
        and given.get("OTEL_SDK_DISABLED", "").lower() != "true"
        and "otlp" in exporters.split(",")
    )


def _opened(service: str) -> Spans | None:
    protocol = next((p for name in PROTOCOLS if (p := os.environ.get(name))), PROTOCOL)
    if protocol != PROTOCOL:
        log.warning("not_traced", reason=f"only {PROTOCOL} is spoken here, not {protocol}")
        return None
    try:
        from app.telemetry.otel import OtelSpans
    except ImportError as error:
        log.warning(
            "not_traced",
            reason=f"{error.name} is missing; OpenTelemetry comes with pip install -e '.[otel]'",
        )
        return None
    spans = OtelSpans(service)
    log.info("traced", service=spans.service)
    return spans
