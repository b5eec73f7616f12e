"""Being stopped: what was accepted is answered, as long as there is time."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog
from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import StoppingProblem
from app.http.problems import respond

_REFUSING_SECONDS = 2.0
"""Before the end: what may end is refused, and the refusals reach who waits."""

log = structlog.get_logger(__name__)


@contextmanager
def until_the_end() -> Iterator[None]:
    """Have a request refused, and the block cancelled, where there is no more time for it.

    Only for what may end anywhere: it awaits, changes nothing, and waits for the threads that it
    has begun. All other requests go on until their answer, or the end of the process: a change
    would be refused while it is made.

    Raises:
        StoppingProblem: there is no more time already.
    """
    one = _present.get()
    if one is None:  # nobody drains
        yield
        return
    if one.draining.over:
        raise StoppingProblem
    one.may_end = True
    try:
        yield
    finally:
        one.may_end = False


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
        """Answer what was accepted; refuse what may end shortly before `seconds` are over."""
        self.begun = True
        for call in self._listeners:
            call()
        left = max(seconds - _REFUSING_SECONDS, seconds / 2)
        asyncio.get_running_loop().call_later(left, self._refuse)

    def _refuse(self) -> None:
        self.over = True
        ending = [one for one in self._open if one.may_end]
        if self._open:
            log.warning("no_more_time", refused=len(ending), go_on=len(self._open) - len(ending))
        for one in ending:
            refusing = asyncio.create_task(one.refuse())
            self._refusing.add(refusing)
            refusing.add_done_callback(self._refusing.discard)

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; refuse it if there is no more time."""
        if self.over:
            await _refusal(scope)(scope, receive, send)
            return
        one = _Answering(self, scope, receive, send)
        self._open.add(one)
        before = _present.set(one)
        try:
            await app(scope, receive, one.send)
        except asyncio.CancelledError:
            if not one.refused:
                raise
        finally:
            _present.reset(before)
            self._open.discard(one)
            one.leave()


class _Answering:
    """A request on its way to an answer.

    Attributes:
        draining: of its process.
        refused: whether it was answered with 503.
        may_end: whether it may be, and its work cancelled.
    """

    def __init__(self, draining: Draining, scope: Scope, receive: Receive, send: Send) -> None:
        self.draining = draining
        self.refused = False
        self.may_end = False
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
        if self._started or not self.may_end:
            return
        self.refused = True
        await _refusal(self._request[0])(*self._request)
        if self._task is not None and self.may_end:
            self._task.cancel()

    def leave(self) -> None:
        """Hear that there is no work any more."""
        self._task = None


_present: ContextVar[_Answering | None] = ContextVar("present", default=None)


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
