"""Being stopped: what was accepted is answered, as long as there is time."""

import asyncio
from collections.abc import Callable

import structlog
from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import StoppingProblem
from app.problems import respond

_REFUSING_SECONDS = 2.0
"""Before the end: what is left is refused, and the refusals reach who waits."""

log = structlog.get_logger(__name__)


class Draining:
    """Whether a process is being stopped, and which requests it still has to answer.

    Attributes:
        begun: whether it is; nobody should send it anything more.
        over: whether what comes now is refused.
    """

    def __init__(self) -> None:
        self.begun = False
        self.over = False
        self._open: set[_Answering] = set()
        self._listeners: list[Callable[[], None]] = []
        self._refusing: set[asyncio.Task[None]] = set()

    def on_begin(self, call: Callable[[], None]) -> None:
        """Have something called on the event loop once it begins: what ends by itself never."""
        self._listeners.append(call)

    def begin(self, seconds: float) -> None:
        """Answer what was accepted; refuse what is left shortly before `seconds` are over."""
        self.begun = True
        for call in self._listeners:
            call()
        left = max(seconds - _REFUSING_SECONDS, seconds / 2)
        asyncio.get_running_loop().call_later(left, self._refuse)

    def _refuse(self) -> None:
        self.over = True
        if self._open:
            log.warning("requests_given_up", requests=len(self._open))
        for one in tuple(self._open):
            refusing = asyncio.create_task(one.refuse())
            self._refusing.add(refusing)
            refusing.add_done_callback(self._refusing.discard)

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; its answer is a refusal once there is no more time."""
        if self.over:
            await _refusal(scope)(scope, receive, send)
            return
        one = _Answering(scope, receive, send)
        self._open.add(one)
        try:
            await app(scope, receive, one.send)
        except asyncio.CancelledError:
            if not one.refused:
                raise
        finally:
            self._open.discard(one)
            one.leave()


class _Answering:
    """A request on its way to an answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.refused = False
        self._started = False
        self._request = scope, receive, send
        self._task = asyncio.current_task()

    async def send(self, message: Message) -> None:
        """Send a part of its own answer; of one that was refused there is none."""
        if not self.refused:
            self._started = True
            await self._request[2](message)

    async def refuse(self) -> None:
        """Answer it with 503, then end the work: that may take as long as a lane's.

        An answer that has begun goes on.
        """
        if self._started:
            return
        self.refused = True
        await _refusal(self._request[0])(*self._request)
        if self._task is not None:
            self._task.cancel()

    def leave(self) -> None:
        """Hear that there is no work any more."""
        self._task = None


def _refusal(scope: Scope) -> Response:
    return respond(StoppingProblem(), Request(scope))


class DrainingMiddleware:
    """Lets `Draining` see every request."""

    def __init__(self, app: ASGIApp, draining: Draining) -> None:
        self.app = app
        self.draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http":
            await self.draining.answer(self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)
