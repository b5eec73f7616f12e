"""What Prometheus reads."""

import time
from collections.abc import Collection, Iterable, Iterator

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.broker import skipped_messages
from app.inference.engine import Inference
from app.inference.metrics import InferenceCollector
from app.keys.signing import unsigned
from app.probes.siblings import Siblings, SiblingsCollector
from app.probes.tracing import QUIET
from app.probes.training import TrainingCollector
from app.processes.restarts import read_api_restarts, read_restarts
from app.settings import Settings

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)

log = structlog.get_logger("app.http")


class RequestMetrics:
    """Counters of one process, in a registry of their own.

    Attributes:
        siblings: other processes behind the same port, whose figures are told too.
    """

    def __init__(self) -> None:
        self.siblings: Siblings | None = None
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "sats_http_requests",
            "Answered requests.",
            ["method", "path", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "sats_http_request_seconds",
            "Time from the first byte asked to the last byte answered.",
            ["method", "path"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.ready = Gauge(
            "sats_ready",
            "Whether a part worked when the service was last asked whether it is ready.",
            ["part"],
            registry=self.registry,
        )

    def note_ready(self, parts: Iterable[str], failed: Collection[str]) -> None:
        """Note which parts have failed, and that the others work."""
        for part in parts:
            self.ready.labels(part).set(part not in failed)

    def own(self, settings: Settings, inference: Inference) -> list[Collector]:
        """Return what this process counts."""
        return [self.registry, InferenceCollector(inference, settings.serve_queue)]

    def expose(self, settings: Settings, engine: Engine, inference: Inference) -> bytes:
        """Return the processes' figures, and what the database says of tasks and models."""
        counted = self.own(settings, inference)
        if settings.api_workers > 1:
            counted = [SiblingsCollector(counted, self.siblings)]
        registry = CollectorRegistry()
        for collector in counted:
            registry.register(collector)
        registry.register(TrainingCollector(engine, settings.lease_seconds))
        registry.register(MendedCollector(settings))
        return generate_latest(registry)


class RequestMetricsMiddleware:
    """Counts, times and logs every request under the path of its route."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500  # what the handler outside of us answers to an exception

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            self._count(scope, status, time.perf_counter() - started)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's pattern, not the path asked for: ids would make a series each.
        route = scope.get("route")
        path = getattr(route, "path", "(none)")
        method = scope["method"] if route is not None else "(none)"
        self.metrics.requests.labels(method, path, status).inc()
        self.metrics.seconds.labels(method, path).observe(seconds)
        if not path.startswith(QUIET):
            log.info(
                "request",
                method=scope["method"],
                path=unsigned(scope["path"]),
                status=status,
                seconds=round(seconds, 4),
            )


class MendedCollector(Collector):
    """What went wrong in other processes and was mended; nothing where it cannot happen."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def collect(self) -> Iterator[Metric]:
        """Yield two counters and a gauge."""
        restarts = read_restarts(self.settings.restarts_file)
        if restarts is not None:
            yield CounterMetricFamily(
                "sats_worker_restarts",
                "Times that `sats serve` started its worker again.",
                value=restarts,
            )
        of_api = read_api_restarts(self.settings.restarts_file)
        if of_api is not None:
            yield CounterMetricFamily(
                "sats_api_restarts",
                "Times that a process of the API was started again because it was killed.",
                value=of_api,
            )
        skipped = skipped_messages(self.settings)
        if skipped is not None:
            yield GaugeMetricFamily(
                "sats_broker_skipped_messages",
                "Files that the embedded broker set aside because they were no messages.",
                value=skipped,
            )
