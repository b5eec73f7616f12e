"""Work for a client that may leave, and every other end that it may come to."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import anyio
import pytest
from fastapi import Request
from starlette.types import Message

from app.http.connected import LeftProblem, while_connected
from app.segmentation.waiting import LateProblem, answering


def leaves(after: asyncio.Event) -> Request:
    """Return a request whose client leaves then."""

    async def receive() -> Message:
        await after.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


async def ends(after: asyncio.Event, turns: int = 0) -> str:
    for _ in range(turns):
        await asyncio.sleep(0)
    await after.wait()
    return "mask"


def at_rest() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0


def test_work_is_cancelled_when_the_client_leaves() -> None:
    async def main() -> None:
        left, never = asyncio.Event(), asyncio.Event()
        asyncio.get_running_loop().call_soon(left.set)
        with pytest.raises(LeftProblem):
            async with answering(asyncio.get_running_loop().time() + 60):
                await while_connected(leaves(left), ends(never))
        assert at_rest()

    anyio.run(main)


def test_the_deadline_is_told_as_such() -> None:
    async def main() -> None:
        never = asyncio.Event()
        with pytest.raises(LateProblem):
            async with answering(asyncio.get_running_loop().time()):
                await while_connected(leaves(never), ends(never))
        assert at_rest()

    anyio.run(main)


def test_of_deadline_and_leaving_at_once_one_is_told() -> None:
    async def main() -> None:
        left, never = asyncio.Event(), asyncio.Event()

        async def stubborn() -> None:
            try:
                await never.wait()
            except asyncio.CancelledError:
                left.set()  # the deadline came first, and there is something to end
                for _ in range(5):
                    try:
                        await asyncio.sleep(0)
                    except asyncio.CancelledError:
                        continue
                raise

        with pytest.raises(LateProblem):
            async with answering(asyncio.get_running_loop().time()):
                await while_connected(leaves(left), stubborn())
        assert at_rest()

    anyio.run(main)


def test_who_cancels_the_request_is_not_answered_for() -> None:
    async def main() -> None:
        never = asyncio.Event()
        task = asyncio.create_task(while_connected(leaves(never), ends(never)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    anyio.run(main)


@pytest.mark.parametrize("turns", range(6))
def test_leaving_as_the_work_ends_hurts_nobody_after_it(turns: int) -> None:
    async def main() -> None:
        both = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, both.set)
        with suppress(LeftProblem):
            assert await while_connected(leaves(both), ends(both, turns)) == "mask"
        for _ in range(5):
            await asyncio.sleep(0)
        assert at_rest()

    anyio.run(main)


def test_what_work_raises_is_raised() -> None:
    async def fails() -> None:
        raise KeyError("picture")

    async def main(work: Coroutine[Any, Any, None]) -> None:
        with pytest.raises(KeyError, match="picture"):
            await while_connected(leaves(asyncio.Event()), work)

    anyio.run(main, fails())
