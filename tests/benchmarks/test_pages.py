"""Pages of a service with much in its tables: each is there, and asks the database little."""

import psutil
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from app.settings import Settings
from benchmarks.pages import LOGIN, make_key, measure, pages, statements
from benchmarks.tables_rows import fill
from tests.fixtures.browser import needed_browser
from tests.fixtures.processes import serving

TASKS, VERSIONS = 300, 150
MOST = 13
"""Statements of a page."""


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_no_page_asks_for_each_of_many(engine: Engine, settings: Settings) -> None:
    fill(engine, TASKS, VERSIONS)
    asked = pages(TASKS, VERSIONS)
    counted = statements(settings, asked)
    assert counted.keys() == asked.keys()
    make_key(settings)
    counted |= statements(settings, LOGIN)
    assert counted["login"] > 0
    assert {name: count for name, count in counted.items() if count > MOST} == {}


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_it_is_told_when_a_page_was_seen(service: FastAPI) -> None:
    with needed_browser() as chromium, serving(service) as url:
        seen = measure(chromium, url, psutil.Process(), "/try", 1)
    assert seen["first_time_ms"]["p50"] > 0
    assert seen["again_ms"]["p50"] > 0
    assert seen["requests"] > 2
    assert seen["sent_kib"] > seen["page_kib"], "its scripts and styles too"
