"""Both clients on a service on a real port."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from sats_client import AsyncClient, Client
from tests.app.segmentation.conftest import register
from tests.worker.conftest import bench

__all__ = ["bench", "register"]


@pytest.fixture
def client(served: httpx.Client) -> Iterator[Client]:
    """A client of the service."""
    with Client(str(served.base_url)) as made:
        yield made


@pytest.fixture
def also_async(served: httpx.Client) -> Callable[..., Any]:
    """Call the service through `AsyncClient`; each step gets what the last one returned."""

    async def run(*steps: Callable[[Any], Any]) -> Any:
        async with AsyncClient(str(served.base_url)) as client:
            value: Any = client
            for step in steps:
                value = step(value)
                if inspect.isasyncgen(value):
                    value = [one async for one in value]
                elif inspect.isawaitable(value):
                    value = await value
            return value

    return lambda *steps: asyncio.run(run(*steps))
