"""The span of every request."""

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.keys.signing import unsigned
from app.telemetry.tracing import current

QUIET = ("/health", "/v2/health", "/metrics")
"""How the paths begin that machines ask for every few seconds; they are neither traced nor logged.
"""


class TracingMiddleware:
    """Gives every request a span, and its log lines the trace's id."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        spans = current()
        if spans is None or scope["type"] != "http" or scope["path"].startswith(QUIET):
            await self.app(scope, receive, send)
            return
        attributes = {
            "http.request.method": scope["method"],
            "url.path": unsigned(scope["path"]),
            "sats.request.id": scope["state"]["request_id"],
        }
        with spans.request(Headers(scope=scope), attributes) as span:

            async def watch(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.answer(message["status"])
                await send(message)

            with structlog.contextvars.bound_contextvars(trace_id=span.trace_id):
                try:
                    await self.app(scope, receive, watch)
                finally:
                    route = getattr(scope.get("route"), "path", "(none)")
                    span.name(f"{scope['method']} {route}", route)
