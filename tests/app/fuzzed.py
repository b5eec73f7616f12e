"""A service that knows something, for Schemathesis to ask: else nothing but 404 is ever tried."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from PIL import Image
from schemathesis.python.asgi import ASGIClient, shutdown_lifespans
from sqlalchemy import Engine, select

from app.db import HeldOutSet, Memory, Task, TaskState, Version, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from app.storage import BlobStore
from sats_core.classes import ClassInfo
from sats_core.evaluation.scores import Confusion, Scores
from tests.app.inference.colour_graph import write_version
from tests.app.tasks.posting import drawn, post
from tests.app.web.showcase import forgetting_report
from tests.fixtures.checkpoints import checkpoint_zip
from tests.fixtures.versions import add_version

Values = Mapping[str, Sequence[str | int]]
"""What there is, by the names of the parameters that ask for it."""

HOOK = "https://example.org/hooks"
LIVE, SPARE = 2, 6
"""Versions that were live one after another; things of a kind that a call may take away."""


@contextmanager
def stocked(
    service: FastAPI, settings: Settings, engine: Engine, blobs: BlobStore, place: Path
) -> Iterator[ASGIClient]:
    """Start a service that knows versions, their tasks and spare keys; yield an admin's client."""
    with write_session(engine) as session:
        secret = read_secret(settings)
        for number in range(SPARE):
            create_key(session, secret, f"spare {number}", [Scope.SEGMENT])
        key = create_key(session, secret, "fuzz", list(Scope))
    _make_versions(engine, blobs, place)
    try:
        with ASGIClient(service) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            yield client
    finally:
        shutdown_lifespans()


def _make_versions(engine: Engine, blobs: BlobStore, place: Path) -> None:
    """Register versions that can be run and hold what a step leaves; spare ones are held."""
    data = blobs.put_file(drawn(place, "red", "dog"))
    with write_session(engine) as session:
        for number in range(LIVE + SPARE):
            name = f"class-{number}"
            confusion = Confusion(
                classes=("background", name), pixels=((9, 1), (2, 8)), before=None, pictures=2
            )
            version = add_version(session, blobs, [name], live=number < LIVE, confusion=confusion)
            classes = [ClassInfo(**entry) for entry in version.classes]
            version.files = {
                file.name: {"blob": blobs.put_file(file).key, "bytes": file.stat().st_size}
                for file in write_version(place / str(number), classes)
            }
            scores = Scores.model_validate(version.scores)
            version.forgetting_report = forgetting_report(scores)
            kept = {"version_id": version.id, "blob": data.key, "pictures": 2}
            session.add(HeldOutSet(**kept, classes=[name]))
            there = {"bytes": data.size, "place": "blob store", "classes": {name: 2}}
            session.add(Memory(**kept, **there))


def there(client: Any, engine: Engine, place: Path, document: Mapping[str, Any]) -> Values:
    """Add tasks in several states, webhooks and uploads to what there is; return all of it."""
    return _made(client, engine, place) | {
        "part": [1],
        "url": [HOOK],
        "class": [f"class-{number}" for number in range(LIVE)],
        "picture": [base64.b64encode(files(place)["picture"]).decode()],
        **_cursors(client, document),
    }


def _made(client: Any, engine: Engine, place: Path) -> dict[str, Sequence[str | int]]:
    data = drawn(place, "red", "dog").read_bytes()
    tasks = [post(client, data, {"name": f"task {n}"}).json()["id"] for n in range(2 * SPARE)]
    _fail(engine, tasks[::2])
    hook = {"url": HOOK, "events": ["task.ended"]}
    hooks = [client.post("/admin/webhooks", json=hook).json()["id"] for _ in range(SPARE)]
    with write_session(engine) as session:
        numbers = list(session.scalars(select(Version.number)))
        every = list(session.scalars(select(Task.id)))
        ended = list(session.scalars(select(Version.task_id)))
    return {
        "model": ["default"],
        "number": [1, *numbers],
        "version": numbers,
        "task_id": [str(task) for task in every],
        "ended": [str(task) for task in ended],
        "key_id": list(range(1, 1 + SPARE)),
        "webhook_id": hooks,
        "large": [_announced(client, sent=n % 2 == 0) for n in range(SPARE)],
        "zip": [_sent(client, data)],
        "name": ["config.json", "model.onnx"],
    }


def _fail(engine: Engine, tasks: Sequence[str]) -> None:
    """Let tasks have failed, so that they can be tried again."""
    with write_session(engine) as session:
        for task in tasks:
            session.get_one(Task, task).state = TaskState.FAILED


def _announced(client: Any, *, sent: bool) -> str:
    upload = client.post("/uploads", json={"bytes": 5}).json()["upload"]
    if sent:
        octets = {"Content-Type": "application/octet-stream"}
        part = client.put(f"/uploads/{upload}/parts/1", data=b"12345", headers=octets)
        part.raise_for_status()
    return str(upload)


def _sent(client: Any, data: bytes) -> str:
    answer = client.post("/uploads", files={"dataset": ("data.zip", data, "application/zip")})
    return str(answer.json()["upload"])


def files(place: Path) -> Mapping[str, bytes]:
    """Return what is read where a file is asked for, by the names of a form's parts."""
    picture = BytesIO()
    Image.new("RGB", (32, 24), "red").save(picture, "PNG")
    data = drawn(place, "red", "dog").read_bytes()
    return {
        "picture": picture.getvalue(),
        "dataset": data,
        "evaluate": drawn(place, "cat").read_bytes(),
        "checkpoint": checkpoint_zip(["background", "cat"]),
    }


def _cursors(client: Any, document: Mapping[str, Any]) -> dict[str, Sequence[str | int]]:
    """Return a cursor of each list that has a second page, by the list: none is another's."""
    found: dict[str, Sequence[str | int]] = {}
    for path, item in document["paths"].items():
        asked = {parameter["name"] for parameter in item.get("get", {}).get("parameters", ())}
        if "cursor" in asked and "id}" not in path:
            page = client.get(path.replace("{model}", "default"), params={"limit": 1}).json()
            if page["next_cursor"]:
                found[f"cursor GET {path}"] = [page["next_cursor"]]
    return found
