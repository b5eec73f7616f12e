"""A bare ASGI server: reads a body, answers with some bytes. What HTTP itself takes.

uvicorn benchmarks.serving_trace_bare:app
"""

import os
from typing import Any

REPLY = bytes(int(os.environ.get("SERVING_REPLY_BYTES", "1024")))


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer whatever is asked."""
    if scope["type"] == "lifespan":
        for done in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{done}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"image/png"), (b"content-length", str(len(REPLY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": REPLY})
