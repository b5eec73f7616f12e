"""Request bodies under a limit, what they begin with, and in which letters."""

import re
from collections import deque

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Message

from app.errors import TooLargeProblem

_CHARSET = re.compile(rb';\s*charset[*0-9]*\s*=\s*("[^"]*"|[^;]*)', re.IGNORECASE)


def bounded(request: Request, most: int, problem: TooLargeProblem) -> Request:
    """Return the request with a body that ends in `problem` once it is longer than `most` bytes.

    A body that says beforehand that it is longer is refused at once.

    Raises:
        TooLargeProblem: here, or where the returned request's body is read.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise problem
    left = most

    async def receive() -> Message:
        nonlocal left
        message = await request.receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise problem
        return message

    return Request(request.scope, receive)


async def beginning(request: Request, enough: int) -> tuple[bytes, Request]:
    """Return a body's first bytes, `enough` or all there are, and the request to read it whole.

    Raises:
        ClientDisconnect: it ends before that.
    """
    read: deque[Message] = deque()
    first = b""
    more = True
    while more and len(first) < enough:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        read.append(message)
        first += message.get("body", b"")
        more = message.get("more_body", False)

    async def receive() -> Message:
        return read.popleft() if read else await request.receive()

    return first, Request(request.scope, receive)


def in_utf8(request: Request) -> Request:
    """Return the request with a form whose texts are UTF-8, whatever its content type says.

    Forms have no `charset` (RFC 7578), but the parser takes any codec of Python's that it names:
    some make no text at all, others text that no answer can be written with.
    """
    headers = [
        (name, _CHARSET.sub(b"", value) if name == b"content-type" else value)
        for name, value in request.scope["headers"]
    ]
    return Request({**request.scope, "headers": headers}, request.receive)
