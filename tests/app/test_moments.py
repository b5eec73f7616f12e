"""Every moment of every answer ends with `Z`: clients read one form."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.db import LabelStudioProject, ProjectState, utc_now, write_session
from app.storage import BlobStore
from tests.app.web.showcase import begin, furnish

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
HOOK = {"url": "https://example.org/hook", "events": ["version.promoted"]}


def moments(schemas: Any, schema: Any, value: Any, field: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that a schema calls a moment, by the field that it stands in."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from moments(schemas, schemas[name], value, name)
    for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from moments(schemas, one, value, field)
    if schema.get("format") == "date-time" and value is not None:
        yield field, value
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                where = f"{field.partition('.')[0]}.{name}"
                yield from moments(schemas, inner, value[name], where)
    if isinstance(value, list) and "items" in schema:
        for one in value:
            yield from moments(schemas, schema["items"], one, field)


def test_every_moment_of_every_answer_is_in_one_form(
    client: TestClient, engine: Engine, blobs: BlobStore
) -> None:
    tasks = furnish(engine, blobs)
    begin(engine, tasks["buses"])
    with write_session(engine) as session:
        asked = {"project": 3, "model": "default", "asked_at": utc_now()}
        session.add(LabelStudioProject(state=ProjectState.WAITING, **asked))
    known = {"model": "default", "number": 5, "project": 3, "name": "model.onnx"}
    known["webhook_id"] = client.post("/admin/webhooks", json=HOOK).json()["id"]
    client.put("/admin/models/default/aliases/live", json={"version": 4}).raise_for_status()
    document = client.get("/openapi.json").json()
    schemas, seen = document["components"]["schemas"], set[str]()
    for path, item in document["paths"].items():
        content = item.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        if schema is None:
            continue
        for task in (tasks["buses"], tasks["version 5"]) if "{task_id}" in path else ("",):
            given = known | {"task_id": task, "upload": "x", "part": 1, "key_id": 1}
            answer = client.get(path.format(**given), headers={"Accept": "application/json"})
            if answer.headers["content-type"] != "application/json" or answer.status_code != 200:
                continue
            for field, value in moments(schemas, schema, answer.json()):
                seen.add(field)
                assert MOMENT.fullmatch(value), (path, field, value)
    told = {"Task.created_at", "Version.created_at", "Move.moved_at", "Webhook.created_at"}
    assert told | {"AuditEntry.at", "TaskStateEvent.at", "LabelStudioProject.asked_at"} <= seen
    assert len(seen) > 20
