"""How soon a page is seen when the tables have filled: 10,000 tasks, 1,000 versions?

    python -m benchmarks.pages

Fills an empty SQLite file and an empty Postgres as `benchmarks.tables` does, starts one API process
on each, and has a real Chromium open every page again and again: the first time nothing of it is
cached, the second time its scripts and styles are. Writes `pages.json` to `--results`.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, Page

from app.db import make_engine, write_session
from app.db.migrate import upgrade
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.main import create_app
from app.settings import Settings
from benchmarks.load_services import api
from benchmarks.machine import commit, hardware
from benchmarks.tables import empty_database, record
from benchmarks.tables_rows import fill, task_id
from tests.fixtures.browser import browser
from tests.fixtures.statements import Statements

BAR_MS = 300.0
PAINTED = """
() => new Promise((painted) => new PerformanceObserver((list) => {
  const first = list.getEntriesByName("first-contentful-paint")[0];
  if (!first) return;
  const [page] = performance.getEntriesByType("navigation");
  const parts = performance.getEntriesByType("resource");
  painted({
    paint: first.startTime,
    answer: page.responseEnd - page.requestStart,
    page: page.decodedBodySize,
    sent: [page, ...parts].reduce((sum, one) => sum + one.transferSize, 0),
    requests: 1 + parts.length,
  });
}).observe({ type: "paint", buffered: true }))
"""
Record = dict[str, Any]
LOGIN = {"login": "/login"}
"""Shown only after a key was made, when every other page wants one."""


def pages(tasks: int, versions: int) -> dict[str, str]:
    """Return every page, by what the record calls it."""
    default = "/ui/models/default"
    return {
        "home": "/",
        "tasks": "/ui/tasks",
        "tasks by their name": "/ui/tasks?text=task+77",
        "tasks that failed": "/ui/tasks?state=failed",
        "a task that ended": f"/ui/tasks/{task_id(versions - 1)}",
        "a task that waits": f"/ui/tasks/{task_id(tasks - 1)}",
        "a new task": "/ui/tasks/new",
        "models": "/ui/models",
        "versions": default,
        "a version": f"{default}/versions/40",
        "two versions compared": "/ui/compare?model=default&version=40&other=39",
        "try a picture": "/try",
        "keys": "/ui/keys",
        "audit log": "/ui/audit",
        "settings": "/ui/settings",
        "reference": "/docs",
    }


def measure(chromium: Browser, url: str, process: psutil.Process, path: str, times: int) -> Record:
    """Open a page so many times, after one that does not count; return when it was seen.

    `cpu_ms` is the service's own processor time for a page and what it loads, which a busy machine
    changes less than the rest.
    """
    first, again = [], []
    for turn in range(times + 1):
        if turn == 1:
            before = sum(process.cpu_times()[:2])
        context = chromium.new_context()  # nothing is cached
        page = context.new_page()
        first.append(_opened(page, url + path))
        again.append(_opened(page, url + path))
        context.close()
    cpu = sum(process.cpu_times()[:2]) - before
    return {
        "path": path,
        "first_time_ms": _spread(first[1:]),
        "again_ms": _spread(again[1:]),
        "answer_ms": round(float(np.median([one["answer"] for one in again[1:]])), 1),
        "cpu_ms": round(1000 * cpu / (2 * times), 1),
        "page_kib": round(first[-1]["page"] / 1024, 1),
        "sent_kib": round(first[-1]["sent"] / 1024, 1),
        "requests": first[-1]["requests"],
    }


def _opened(page: Page, address: str) -> Record:
    answer = page.goto(address, wait_until="load")
    if answer is None or answer.status != 200:
        raise RuntimeError(f"{address}: {answer and answer.status}")
    found: Record = page.evaluate(PAINTED)
    return found


def _spread(seen: Sequence[Record]) -> Record:
    half, most = np.percentile([one["paint"] for one in seen], (50, 95))
    return {"p50": round(float(half), 1), "p95": round(float(most), 1)}


def statements(settings: Settings, paths: dict[str, str]) -> dict[str, int]:
    """Return how many statements the database is sent for each page that was seen before.

    The least of three times: what else a process asks meanwhile is counted too.
    """
    local = {"base_url": "http://127.0.0.1", "client": ("127.0.0.1", 50000)}
    found = {}
    with TestClient(create_app(settings), **local) as client:  # type: ignore[arg-type]
        engine = client.app.state.services.engine  # type: ignore[attr-defined]
        for name, path in paths.items():
            client.get(path)
            counts = []
            for _ in range(3):
                with Statements(engine) as sent:
                    client.get(path)
                counts.append(len(sent.seen))
            found[name] = min(counts)
    return found


def make_key(settings: Settings) -> None:
    """Make a key: from then on there is something to log in with."""
    engine = make_engine(settings.resolved_database_url)
    with write_session(engine) as session:
        create_key(session, read_secret(settings), "operator", [Scope.ADMIN])
    engine.dispose()


def take(kind: str, tasks: int, versions: int, times: int) -> Record:
    """Fill a database of this kind and open every page; return what was seen."""
    asked = pages(tasks, versions)
    with tempfile.TemporaryDirectory(prefix="sats-pages-") as made, empty_database(kind) as db:
        folder = Path(made)
        settings = Settings(data_dir=folder / "data", database_url=db)
        settings.blob_dir.mkdir(parents=True)
        engine = make_engine(settings.resolved_database_url)
        upgrade(engine)
        fill(engine, tasks, versions)
        engine.dispose()
        counted = statements(settings, asked)
        before = os.getloadavg()[0]
        log = folder / "api.log"
        with api(settings, log, "/health/live") as (url, process), browser() as chromium:
            seen = {n: measure(chromium, url, process, p, times) for n, p in asked.items()}
            make_key(settings)
            seen |= {n: measure(chromium, url, process, p, times) for n, p in LOGIN.items()}
            version = chromium.version
        after = os.getloadavg()[0]
        counted |= statements(settings, LOGIN)
    slow = [name for name, one in seen.items() if one["first_time_ms"]["p95"] > BAR_MS]
    return {
        "commit": commit(),
        "hardware": hardware("cpu"),
        "processors": os.cpu_count(),
        "load_average": {"before": round(before, 2), "after": round(after, 2)},
        "chromium": version,
        "tasks": tasks,
        "versions": versions,
        "times": times,
        "bar_ms": BAR_MS,
        "bar_reached": not slow,
        "slower_than_the_bar": slow,
        "pages": {name: {**one, "statements": counted[name]} for name, one in seen.items()},
    }


def main(
    tasks: Annotated[int, typer.Option(help="Rows of tasks.")] = 10_000,
    versions: Annotated[int, typer.Option(help="Rows of versions.")] = 1_000,
    times: Annotated[int, typer.Option(help="How often each page is opened.")] = 20,
    database: Annotated[list[str] | None, typer.Option(help="sqlite, postgres; both.")] = None,
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Fill tables and open every page in Chromium; write how soon each is seen."""
    command = f"python -m benchmarks.pages --times {times}"
    record(
        results / "pages.json", command, database, lambda kind: take(kind, tasks, versions, times)
    )


if __name__ == "__main__":
    typer.run(main)
