"""What pages cost where there is much: statements and bytes do not grow with it."""

import json
from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, insert, select

from app.db import Task, TaskState, Version, utc_now, write_session
from app.storage import BlobStore
from tests.app.web.showcase import furnish
from tests.fixtures.statements import Statements

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

TASKS, VERSIONS = 10_000, 1_000
LARGEST = 120_000
"""Bytes of a page; none of its scripts."""


def fill(engine: Engine) -> None:
    """Add many tasks that ended, and a long line of versions."""
    with write_session(engine) as session:
        last = session.scalars(select(Version).order_by(Version.number.desc())).first()
        made = session.get_one(Task, last.task_id)
        of_task = {
            one.name: getattr(made, one.name)
            for one in Task.__table__.columns
            if one.name not in ("id", "sequence", "version_id", "idempotency_key", "preview_of")
        }
        began = utc_now() - timedelta(days=400)
        rows = [
            of_task
            | {
                "id": f"00000000-0000-4000-8000-{number:012}",
                "sequence": -TASKS + number,
                "state": TaskState.FAILED if number % 7 else TaskState.LIVE,
                "created_at": began + timedelta(minutes=number),
            }
            for number in range(TASKS)
        ]
        session.execute(insert(Task), rows)
        of_version = {
            one.name: getattr(last, one.name)
            for one in Version.__table__.columns
            if one.name not in ("id", "number", "parent_id", "task_id")
        }
        first = last.id + 1
        session.execute(
            insert(Version),
            [
                of_version
                | {
                    "id": first + number,
                    "number": last.number + 1 + number,
                    "parent_id": first + number - 1,
                    "task_id": rows[number]["id"],
                }
                for number in range(VERSIONS)
            ],
        )


def test_much_costs_no_more_than_little(
    client: TestClient, engine: Engine, blobs: BlobStore, service: FastAPI
) -> None:
    ids = furnish(engine, blobs)
    paths = [
        "/",
        "/ui/tasks",
        "/ui/tasks?text=sofa",
        f"/ui/tasks/{ids['version 5']}",
        "/ui/models/default",
        "/ui/models/default/curves",
        "/ui/models/default/versions/5",
        "/ui/compare?model=default&version=3&other=5",
        "/try",
    ]

    def costs() -> dict[str, tuple[int, int]]:
        found = {}
        for path in paths:
            client.get(path)
            counts = []
            for _ in range(3):  # the least: what else the process asks meanwhile is counted too
                with Statements(service.state.services.engine) as asked:
                    answer = client.get(path)
                assert answer.status_code == 200, path
                counts.append(len(asked.seen))
            found[path] = (min(counts), len(answer.content))
        return found

    little = costs()
    fill(engine)
    much = costs()
    for path in paths:
        # Two: what is live need not be on the page that shows the newest.
        assert much[path][0] <= little[path][0] + 2, (path, json.dumps([little, much]))
        assert much[path][0] <= 16, path
        assert much[path][1] <= LARGEST, (path, much[path])
