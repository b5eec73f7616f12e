"""Calls that something else takes the place of: every answer to them says so."""

from typing import Any
from urllib.parse import quote

from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send


def deprecated_route(since: str, successor: str) -> type[APIRoute]:
    """Return the class of routes whose answers, refusals too, tell what to call instead.

    Args:
        since: when it was said first, as RFC 9745 spells it.
        successor: path of what takes its place, with the names of the path's parameters.
    """

    class DeprecatedRoute(APIRoute):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "deprecated": True})

        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            # As it came: whatever stood in the path may not be anything else in a header.
            asked = {name: quote(str(one), safe="") for name, one in scope["path_params"].items()}
            instead = successor.format(**asked)

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    headers = MutableHeaders(scope=message)
                    headers["Deprecation"] = since
                    headers["Link"] = f'<{instead}>; rel="successor-version"'
                await send(message)

            await super().handle(scope, receive, told)

    return DeprecatedRoute
