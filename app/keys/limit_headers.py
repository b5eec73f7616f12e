"""What is left of a key's limits, said with every answer to it."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class LimitHeadersMiddleware:
    """Adds `RateLimit-Policy` and `RateLimit` where the caller's key has limits per minute.

    An answer that says them of itself, a 429, stays as it is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                caller = scope["state"].get("caller")
                if caller is not None and caller.limits.per_minute:
                    headers = MutableHeaders(scope=message)
                    for name, value in scope["app"].state.services.rates.headers(caller).items():
                        headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, told)
