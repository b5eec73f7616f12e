"""Request bodies under a limit."""

from fastapi import Request
from starlette.types import Message

from app.errors import TooLargeProblem


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
