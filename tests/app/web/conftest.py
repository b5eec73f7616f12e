from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect

from tests.app.segmentation.conftest import register as register
from tests.fixtures.browser import Seen, needed_browser
from tests.fixtures.processes import serving

Open = Callable[..., Page]
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")  # while it is there, an event loop runs in this thread
def chromium() -> Iterator[Browser]:
    """The machine's browser; where there is none the test is skipped, in CI it fails."""
    with needed_browser() as started:
        yield started


@pytest.fixture
def site(service: FastAPI) -> Iterator[str]:
    """URL of the service."""
    with serving(service) as url:
        yield url


@pytest.fixture
def open_page(chromium: Browser, site: str) -> Iterator[Open]:
    """Return what opens a page; none may complain, or ask another host for anything."""
    watched: list[Seen] = []
    with ExitStack() as stack:

        def opened(path: str, *, allowed: tuple[str, ...] = (), **options: object) -> Page:
            context = stack.enter_context(chromium.new_context(**options))
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            watched.append(Seen(page, site, allowed))
            page.goto(site + path)
            return page

        yield opened
    for seen in watched:
        assert not seen.complaints
        assert not seen.elsewhere
