"""What browsers are told of every answer: run nothing, show it in no frame, and who may read it."""

import re
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import Settings

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Of every answer that does not say otherwise of itself."""

METHODS = ("GET", "POST", "PUT", "DELETE")
REQUEST_ID = "Request-Id"
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

ASKED = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "If-Match",
    REQUEST_ID,
)
ANSWERED = (
    *("Location", "Idempotency-Replayed", "Retry-After", "ETag"),
    *("RateLimit", "RateLimit-Policy", "Deprecation", "Sunset", "Link"),
    *("X-Sats-Model", "X-Sats-Version", REQUEST_ID),
)
"""Headers that pages of allowed origins may send, and read."""


class RequestIdMiddleware:
    """Gives every request an id: the caller's, if it is a good one; sent back, logged, audited."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _GOOD_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self.app(scope, receive, named)


class SecurityHeadersMiddleware:
    """Adds `SECURITY_HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, secured)


class CrossOriginMiddleware:
    """Lets pages of the origins in the settings read answers; those of no other.

    The settings are read when the service starts, which is after its middleware was put together.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._guarded: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer what a browser asks before it sends one."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._guarded is None:
            self._guarded = self._guard(scope["app"].state.services.settings)
        await self._guarded(scope, receive, send)

    def _guard(self, settings: Settings) -> ASGIApp:
        if not settings.allowed_origins:
            return self.app
        return CORSMiddleware(
            self.app,
            allow_origins=settings.allowed_origins,
            allow_methods=METHODS,
            allow_headers=ASKED,
            expose_headers=ANSWERED,
        )
