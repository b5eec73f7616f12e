"""Does what flows ask for, on an event loop of asyncio."""

import asyncio
from contextlib import AsyncExitStack, ExitStack, aclosing, closing
from functools import partial
from typing import Any, TypeVar

import httpx

from sats_client._flow import (
    Answer,
    Ask,
    Effect,
    Flow,
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
from sats_client._sync import check_size, lost

T = TypeVar("T")


class AsyncDriver:
    """Runs flows on a client of httpx; several tasks may do so at once."""

    def __init__(self, http: httpx.AsyncClient, persistence: Persistence, max_bytes: int) -> None:
        self._http = http
        self._persistence = persistence
        self._max_bytes = max_bytes

    async def run(self, flow: Flow[T]) -> T:
        """Do what a flow asks for until it ends; return its value."""
        with closing(flow):
            async with AsyncExitStack() as streams:
                step = partial(flow.send, None)
                try:
                    while True:
                        try:
                            effect = step()
                        except StopIteration as end:
                            value: T = end.value
                            return value
                        try:
                            step = partial(flow.send, await self._do(effect, streams))
                        except Exception as error:  # noqa: BLE001 - it is the flow's to judge
                            step = partial(flow.throw, error)
                finally:
                    del step  # it may hold an error, whose traceback holds this frame

    async def _do(self, effect: Effect, streams: AsyncExitStack) -> Any:
        match effect:
            case Ask(request):
                return await self.run(asked(request, self._persistence))
            case Send(request):
                async with aclosing(await self._sent(request)) as answer:
                    return Answer(answer.status_code, answer.headers, await self._whole(answer))
            case Open(request):
                await streams.aclose()
                answer = await self._sent(request)
                streams.push_async_callback(answer.aclose)
                return Stream(answer.status_code, answer.headers, answer.aiter_bytes())
            case Read(stream):
                try:
                    return await anext(stream.chunks, b"")  # type: ignore[arg-type]
                except httpx.RequestError as error:
                    raise lost(error) from error
            case Sleep(seconds):
                await asyncio.sleep(seconds)
            case Work(do):
                return await asyncio.to_thread(do)
        return None

    async def _sent(self, request: Request) -> httpx.Response:
        with ExitStack() as opened:
            ready = built(self._http, request, opened)
            try:
                return await self._http.send(ready, stream=True)
            except httpx.RequestError as error:
                raise lost(error) from error

    async def _whole(self, answer: httpx.Response) -> bytes:
        body = bytearray()
        try:
            async for chunk in answer.aiter_bytes():
                body += chunk
                check_size(len(body), self._max_bytes)
        except httpx.RequestError as error:
            raise lost(error) from error
        return bytes(body)
