"""The calls of the service: how each is asked, and what is read of its answer."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

from sats_client import packing
from sats_client._files import Told, Upload
from sats_client._flow import Answer, Ask, Flow, Request, Work
from sats_client._reading import read
from sats_client._settings import Sought
from sats_client._uploading import LARGE_BYTES, uploaded
from sats_client.errors import BadAnswer, Conflict
from sats_client.models import Classes, Curves, Move, Point, Version, Worker
from sats_client.records import Event, TaskRecord

R = TypeVar("R")
K = TypeVar("K", bound=TaskRecord)
AnyPath = str | PathLike[str]
Query = Mapping[str, Any]
MOST_EVENTS = 500
"""Of a page, as the service allows."""
MOST_POINTS = 1000
"""Versions of a page of a curve, likewise."""


@dataclass(frozen=True)
class Page(Generic[R]):
    """Some entries of a list.

    Attributes:
        items: in the list's order.
        cursor: where the next page begins; None: there is none.
    """

    items: tuple[R, ...]
    cursor: str | None


def parameters(wanted: Query) -> tuple[tuple[str, str], ...]:
    """Return a query; what is None is not said, of what is a list each entry is."""
    found = []
    for name, value in wanted.items():
        several = value if isinstance(value, list | tuple | set | frozenset) else (value,)
        found += [(name, _text(one)) for one in several if one is not None]
    return tuple(found)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def got(kind: type[R], path: str, query: Query | None = None) -> Flow[R]:
    """Look at something."""
    answer: Answer = yield Ask(Request("GET", path, parameters(query or {})))
    return read(kind, answer.json())


def page(kind: type[R], path: str, query: Query, cursor: str | None) -> Flow[Page[R]]:
    """Read one page of a list."""
    query = {**query, "cursor": cursor}
    # What happens is told as a stream too, to whoever does not say what it wants.
    asked = Request("GET", path, parameters(query), {"Accept": "application/json"})
    said = (yield Ask(asked)).json()
    try:
        return Page(tuple(read(kind, one) for one in said["items"]), said.get("next_cursor"))
    except (KeyError, TypeError) as error:
        raise BadAnswer("the answer is no page of a list: is it a SATS service?") from error


def tasks(kind: type[K], wanted: Sought) -> Callable[[str | None], Flow[Page[K]]]:
    """Return what reads a page of tasks."""
    query = {**wanted, "state": listed(wanted.get("state"))}
    return partial(page, kind, "/tasks", query)


def versions(model: str, sort: str | None) -> Callable[[str | None], Flow[Page[Version]]]:
    """Return what reads a page of a model's versions."""
    return partial(page, Version, version_path(model), {"sort": sort})


def events(task_id: str, types: Iterable[str]) -> Callable[[str | None], Flow[Page[Event]]]:
    """Return what reads a page of what has happened to a task."""
    query = {"type": listed(types), "limit": MOST_EVENTS}
    return partial(page, Event, task_path(task_id, "/events"), query)


def curve(model: str, cursor: str | None) -> Flow[Page[Point]]:
    """Read how some of a model's versions score, the newest first."""
    query = {"model": model, "newest": MOST_POINTS, "before": cursor}
    found = (yield from got(Curves, "/admin/metrics", query)).models
    if len(found) != 1:
        raise BadAnswer("the answer is not one model's curve: is it a SATS service?")
    before = found[0].next_before
    return Page(found[0].points[::-1], None if before is None else str(before))


def workers(cursor: str | None) -> Flow[Page[Worker]]:
    """Read a page of workers."""
    return page(Worker, "/admin/workers", {}, cursor)


def task_path(task_id: object, deed: str = "") -> str:
    """Return where a task is, or what is done to it."""
    return f"/tasks/{quote(str(task_id), safe='')}{deed}"


def version_path(model: str, number: int | None = None) -> str:
    """Return where a model's versions are, or one of them."""
    place = f"/admin/models/{quote(model, safe='')}/versions"
    return place if number is None else f"{place}/{int(number)}"


def classes(model: str, number: int | None) -> Flow[Classes]:
    """Look at the classes of a version."""
    return got(Classes, "/classes", {"model": model, "version": number})


@dataclass(frozen=True)
class Post:
    """Files and a spec to be posted.

    Attributes:
        path: where.
        files: what is sent by the name of its field, and what of it where it is a folder.
        spec: JSON.
        told: of the bytes of the first file that were sent.
        key: for `Idempotency-Key`; None makes one.
        source: what the first file is called on the way; None: by its own name.
        in_parts: whether a large file goes beforehand, in parts.
    """

    path: str
    files: Mapping[str, tuple[AnyPath, Callable[[Path], packing.Files]]]
    spec: Mapping[str, Any]
    told: Told | None
    key: str | None
    source: str | None = None
    in_parts: bool = False


def submission(
    dataset: AnyPath, name: str | None, spec: Mapping[str, Any], told: Told | None, key: str | None
) -> Post:
    """Return what makes a task that learns."""
    source = Path(dataset).resolve()
    called = source.name if source.is_dir() else source.stem
    wanted = {"name": name or called, **spec}
    files = {"dataset": (dataset, packing.everything)}
    return Post("/tasks", files, wanted, told, key, in_parts=True)


def importing(
    checkpoint: AnyPath,
    model: str,
    evaluate: AnyPath | None,
    spec: Mapping[str, Any],
    told: Told | None,
    key: str | None,
    source: str | None,
) -> Post:
    """Return what makes a task that imports."""
    files: dict[str, tuple[AnyPath, Callable[[Path], packing.Files]]] = {
        "checkpoint": (checkpoint, packing.checkpoint)
    }
    if evaluate is not None:
        files["evaluate"] = (evaluate, packing.everything)
    return Post(version_path(model), files, spec, told, key, source)


def retiring(
    model: str,
    number: int,
    dataset: AnyPath | None,
    spec: Mapping[str, Any],
    told: Told | None,
    key: str | None,
) -> Post:
    """Return what makes a task that takes classes away."""
    files: dict[str, tuple[AnyPath, Callable[[Path], packing.Files]]] = {}
    if dataset is not None:
        files["dataset"] = (dataset, packing.everything)
    return Post(f"{version_path(model, number)}:retire", files, spec, told, key)


def posted(kind: type[K], post: Post) -> Flow[K]:
    """Post files and a spec, folders packed, and return the task that was made.

    Without a file the spec is the body.
    """
    with ExitStack() as scratch:
        form: dict[str, Upload | str] = {"spec": json.dumps(post.spec)}
        told, called = post.told, post.source
        for field, (source, inside) in post.files.items():
            path = yield Work(partial(packing.packed, Path(source), scratch, inside))
            upload = None
            if post.in_parts and path.stat().st_size >= LARGE_BYTES:
                upload = yield from uploaded(path, called or path.name, told)
            if upload is None:
                form[field] = Upload(path, called or path.name, told)
            else:
                form["upload"] = upload
            told = called = None
        headers = {"Idempotency-Key": post.key or uuid4().hex}
        asked = Request("POST", post.path, headers=headers, form=form)
        if not post.files:
            asked = Request("POST", post.path, headers=headers, json=dict(post.spec))
        answer: Answer = yield Ask(asked)
        return read(kind, answer.json())


def done_once(kind: type[R], path: str) -> Flow[R]:
    """Do what must not be done twice, under a key by which the service knows it again."""
    answer: Answer = yield Ask(Request("POST", path, headers={"Idempotency-Key": uuid4().hex}))
    return read(kind, answer.json())


def log(task_id: str) -> Flow[str]:
    """Read what a task's training process wrote last."""
    answer: Answer = yield Ask(Request("GET", task_path(task_id, "/log")))
    return answer.body.decode(errors="replace")


def alias_path(model: str) -> str:
    """Return where `live` of a model is."""
    return f"/admin/models/{quote(model, safe='')}/aliases/live"


def live(model: str) -> Flow[Move]:
    """Look where `live` points."""
    answer: Answer = yield Ask(Request("GET", alias_path(model)))
    return _move(answer)


def promoted(model: str, number: int, seen: Move | None) -> Flow[Move]:
    """Point `live` at a version, only from where it was seen to stand."""
    headers = {} if seen is None or seen.etag is None else {"If-Match": seen.etag}
    wanted = Request("PUT", alias_path(model), headers=headers, json={"version": number})
    try:
        answer: Answer = yield Ask(wanted)
    except Conflict:
        now = yield from live(model)
        # Moved by our first try, whose answer was lost, or to the same version by somebody else.
        if seen is None or (now.version, now.sequence) != (number, seen.sequence + 1):
            raise
        return now
    return _move(answer)


def rolled_back(model: str, number: int | None) -> Flow[Move]:
    """Point `live` at what it was before a version; the one that is live, if none is named."""
    if number is None:
        number = (yield from live(model)).version
    return (yield from done_once(Move, f"{version_path(model, number)}:rollback"))


def _move(answer: Answer) -> Move:
    return replace(read(Move, answer.json()), etag=answer.headers.get("etag"))


def version(model: str, number: int) -> Flow[Version]:
    """Look at a version."""
    return got(Version, version_path(model, number))


def listed(values: str | Iterable[str] | None) -> list[str] | None:
    """Return one text, or several, as a list."""
    if values is None:
        return None
    return [values] if isinstance(values, str) else list(values)
