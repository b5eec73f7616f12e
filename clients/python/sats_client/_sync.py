"""Does what flows ask for, on this thread."""

import time
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, TypeVar

import httpx

from sats_client._flow import (
    Answer,
    Ask,
    Effect,
    Flow,
    Lost,
    Open,
    Persistence,
    Read,
    Request,
    Send,
    Sleep,
    Stream,
    Work,
    asked,
    built,
)
from sats_client.errors import BadAnswer

T = TypeVar("T")


class Driver:
    """Runs flows on a client of httpx; several threads may do so at once."""

    def __init__(self, http: httpx.Client, persistence: Persistence, max_bytes: int) -> None:
        self._http = http
        self._persistence = persistence
        self._max_bytes = max_bytes

    def run(self, flow: Flow[T]) -> T:
        """Do what a flow asks for until it ends; return its value."""
        with closing(flow), ExitStack() as streams:
            step = partial(flow.send, None)
            try:
                while True:
                    try:
                        effect = step()
                    except StopIteration as end:
                        value: T = end.value
                        return value
                    try:
                        step = partial(flow.send, self._do(effect, streams))
                    except Exception as error:  # noqa: BLE001 - it is the flow's to judge
                        step = partial(flow.throw, error)
            finally:
                del step  # it may hold an error, whose traceback holds this frame

    def _do(self, effect: Effect, streams: ExitStack) -> Any:
        match effect:
            case Ask(request):
                return self.run(asked(request, self._persistence))
            case Send(request):
                with closing(self._sent(request)) as answer:
                    return Answer(answer.status_code, answer.headers, self._whole(answer))
            case Open(request):
                streams.close()
                answer = self._sent(request)
                streams.callback(answer.close)
                return Stream(answer.status_code, answer.headers, answer.iter_bytes())
            case Read(stream):
                try:
                    return next(stream.chunks, b"")  # type: ignore[arg-type]
                except httpx.RequestError as error:
                    raise lost(error) from error
            case Sleep(seconds):
                time.sleep(seconds)
            case Work(do):
                return do()
        return None

    def _sent(self, request: Request) -> httpx.Response:
        with ExitStack() as opened:
            ready = built(self._http, request, opened)
            try:
                return self._http.send(ready, stream=True)
            except httpx.RequestError as error:
                raise lost(error) from error

    def _whole(self, answer: httpx.Response) -> bytes:
        body = bytearray()
        try:
            for chunk in answer.iter_bytes():
                body += chunk
                check_size(len(body), self._max_bytes)
        except httpx.RequestError as error:
            raise lost(error) from error
        return bytes(body)


def check_size(count: int, most: int) -> None:
    """Check that an answer has no more bytes than its client takes.

    Raises:
        BadAnswer: it has.
    """
    if count > most:
        raise BadAnswer(f"the answer has more than {most} bytes: set `max_answer_bytes` to take it")


def lost(error: httpx.RequestError) -> Lost:
    """Return what a failure of httpx's is to a flow."""
    url = error.request.url.copy_with(query=None)  # it may hold a signature
    return Lost(f"{url}: {str(error) or type(error).__name__}")
