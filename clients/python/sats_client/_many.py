"""Many calls, some of them at once, their answers in order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

R = TypeVar("R")
OnError = Callable[[Any, Exception], object]


def in_order(
    do: Callable[[Any], R], items: Iterable[Any], concurrency: int, on_error: OnError | None
) -> Iterator[R]:
    """Yield what `do` returns for each item; takes an item once there is room for it."""
    _check(concurrency)
    waiting: deque[tuple[Any, Future[R]]] = deque()

    def first() -> Iterator[R]:
        item, one = waiting.popleft()
        try:
            found = one.result()
        except Exception as error:
            if on_error is None:
                raise
            on_error(item, error)
        else:
            yield found

    with ThreadPoolExecutor(concurrency, "sats-client") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(do, item)))
                if len(waiting) == concurrency:
                    yield from first()
            while waiting:
                yield from first()
        finally:
            for _, one in waiting:
                one.cancel()


async def in_order_async(
    do: Callable[[Any], Awaitable[R]],
    items: Iterable[Any],
    concurrency: int,
    on_error: OnError | None,
) -> AsyncIterator[R]:
    """Yield what `do` returns for each item; takes an item once there is room for it."""
    _check(concurrency)
    waiting: deque[tuple[Any, asyncio.Future[R]]] = deque()

    async def first() -> list[R]:
        item, one = waiting.popleft()
        try:
            return [await one]
        except Exception as error:
            if on_error is None:
                raise
            on_error(item, error)
            return []

    try:
        for item in items:
            waiting.append((item, asyncio.ensure_future(do(item))))
            if len(waiting) == concurrency:
                for found in await first():
                    yield found
        while waiting:
            for found in await first():
                yield found
    finally:
        left = [one for _, one in waiting]
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _check(concurrency: int) -> None:
    if concurrency < 1:
        raise ValueError("concurrency is 1 or more")
