"""What keeps reading fast when the tables have filled: few statements, and an index for each."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from benchmarks.tables import calls
from benchmarks.tables_rows import fill
from tests.app.db.test_indexes import explain
from tests.fixtures.statements import Statements

TASKS, VERSIONS = 300, 150
MOST = 8
"""Statements of a call; one for each of ten models or of fifty rows would be more."""
LARGE = ("tasks", "task_events", "task_logs", "alias_moves", "audit_entries", "memories")
WHOLE = {"metrics": "tasks", "audit": "audit_entries", "audit, largest page": "audit_entries"}
"""Calls that go along a whole table: to count it, or from its end until the page is full."""


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """A client of a service that keeps what it knows of keys for as long as a test takes."""
    app = create_app(settings.model_copy(update={"key_cache_seconds": 3600.0}))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as made:
        yield made


def statements(client: TestClient, path: str) -> list[tuple[str, Any]]:
    """Return what a call asks the database, the second time: the first one fills caches."""
    for _ in range(2):
        with Statements(client.app.state.services.engine) as sent:  # type: ignore[attr-defined]
            assert client.get(path).status_code == 200, path
    return [one for one in sent.seen if not one[0].startswith("BEGIN")]


def scans(step: str, table: str) -> bool:
    """Whether a step of a plan reads a whole table without an index."""
    along = step.strip().startswith(f"SCAN {table}") and " USING " not in step
    return along or f"Seq Scan on {table}" in step


def test_reading_full_tables_takes_few_statements_each_by_an_index(
    engine: Engine, client: TestClient
) -> None:
    fill(engine, TASKS, VERSIONS)
    for name, path in calls(TASKS, VERSIONS).items():
        asked = statements(client, path)
        assert len(asked) <= MOST, (name, [statement for statement, _ in asked])
        listing = name.startswith("tasks")
        assert not (listing and any("task_events" in statement for statement, _ in asked)), name
        with engine.connect() as connection:
            for statement, parameters in asked:
                plan = explain(connection, statement, parameters)
                whole = [t for t in LARGE for step in plan if scans(step, t)]
                assert set(whole) <= {WHOLE.get(name)}, (name, statement, plan)
