"""One look at a time, and nobody else waits for it."""

import asyncio
import threading
from collections.abc import Callable

import anyio.to_thread
import pytest

from app.errors import BusyProblem
from app.uploads.looking import LOOK_SECONDS
from app.uploads.looks import PATIENCE_SECONDS, Looks


class LongLook:
    """Runs until it is told to end, and counts how many run at once."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.may_end = threading.Event()

    def __call__(self) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        self.may_end.wait(60)
        self.running -= 1
        return self.most


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - a thread makes it true
            await asyncio.sleep(0.01)


def test_looks_that_wait_hold_no_thread() -> None:
    async def test() -> None:
        looks, look = Looks(), LongLook()
        threads = anyio.to_thread.current_default_thread_limiter()
        asked = [asyncio.create_task(looks.run(look)) for _ in range(20)]
        try:
            await until(lambda: look.running == 1)
            assert threads.borrowed_tokens == 1
        finally:
            look.may_end.set()
        assert await asyncio.gather(*asked) == [1] * 20

    asyncio.run(test())


def test_more_than_may_wait_are_told_when_to_come_back() -> None:
    async def test() -> None:
        looks, look = Looks(most_waiting=2), LongLook()
        first = asyncio.create_task(looks.run(look))
        await until(lambda: look.running == 1)
        waiting = [asyncio.create_task(looks.run(look)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyProblem) as refused:
            await looks.run(look)
        assert int(refused.value.headers["Retry-After"]) >= 1
        look.may_end.set()
        await asyncio.gather(first, *waiting)

    asyncio.run(test())


def test_one_that_has_waited_too_long_leaves_the_turn_to_others() -> None:
    async def test() -> None:
        looks, look = Looks(patience=0.05), LongLook()
        first = asyncio.create_task(looks.run(look))
        await until(lambda: look.running == 1)
        with pytest.raises(BusyProblem):
            await looks.run(look)
        look.may_end.set()
        await first
        assert await looks.run(look) == 1

    asyncio.run(test())


def test_a_look_that_fails_gives_the_turn_back() -> None:
    async def test() -> None:
        looks, look = Looks(patience=60), LongLook()
        look.may_end.set()
        with pytest.raises(ZeroDivisionError):
            await looks.run(lambda: 1 // 0)
        assert await looks.run(look) == 1

    asyncio.run(test())


def test_a_sheet_waits_longer_than_a_look_takes() -> None:
    assert PATIENCE_SECONDS > LOOK_SECONDS
