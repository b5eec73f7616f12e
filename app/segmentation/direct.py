"""Routes whose dependencies FastAPI does not solve."""

from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send


class Direct(APIRoute):
    """Calls its endpoint with the request alone; its dependencies are for the document.

    Walking through declared dependencies takes FastAPI more than a millisecond a request, more than
    all else that the event loop does for it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


class HoldingResponse(Response):
    """An answer that holds on to something until it is out.

    Args:
        held: is left then.
        of_response: as `Response` has them.
    """

    def __init__(self, held: ExitStack, **of_response: Any) -> None:
        super().__init__(**of_response)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._held:
            await super().__call__(scope, receive, send)
