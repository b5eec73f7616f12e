"""Rows of a service that has run for years: put straight into empty tables, as it writes them."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, insert, update

from app.audit.service import FIRST, Action, entry_hash
from app.db import (
    Actor,
    ActorType,
    AliasMove,
    AuditEntry,
    HeldOutSet,
    Memory,
    Model,
    ModelClass,
    Place,
    Task,
    TaskEvent,
    TaskLog,
    TaskState,
    Version,
)
from app.tasks.schemas import TaskSpec
from sats_core.classes import voc_colour
from sats_core.evaluation.forgetting import readings
from sats_core.settings import StepSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 500
MODELS = ("default", "street", "pets", "teeth", "crops", "rooms", "ships", "cells", "roofs", "ores")
LONGEST_LINE = 40
"""Versions from a base to the last one that was learned through it."""
QUEUED = 40
KEY = "0123456789abcdef" * 4
LOG = "2026-11-21T16:51:18Z epoch 1 of 30: cross_entropy 0.4212 distillation 0.0311\n" * 40
LABELS = {"pictures": 160, "duplicates": 0, "held_out_duplicates": 0, "warnings": []}
LABELLED: dict[str, Any] = {
    "pictures": 40,
    "share": 0.1,
    "share_where_shown": 0.2,
    "outline_fit": 0.21,
    "called": "class 1",
    "called_share": 0.08,
    "told_apart": None,
}
EVA = Actor(ActorType.KEY, "eva")
LABEL_TEAM = Actor(ActorType.KEY, "label team")
END_STATES = (TaskState.FAILED, TaskState.CANCELLED, TaskState.FAILED)
Row = dict[str, Any]


def fill(engine: Engine, tasks: int = 10_000, versions: int = 1_000) -> None:
    """Fill empty tables: ten models, the first with over half of all versions and tasks.

    Every version has its task; the other tasks failed, were cancelled or wait. A Postgres counts
    its rows at the end, as it does by itself within a minute wherever many came: before, it takes
    the tables for empty and plans accordingly.
    """
    places = list(_places(versions))
    with engine.execution_options(write=True).begin() as connection:
        _add(connection, Model, ({"name": name, "created_at": START} for name in MODELS))
        _add(connection, ModelClass, _classes())
        _add(connection, Task, (_task(n, tasks, places) for n in range(tasks)))
        _add(connection, Version, (_version(n, places) for n in range(versions)))
        for number in range(versions):
            made = update(Task).where(Task.id == task_id(number)).values(version_id=number + 1)
            connection.execute(made)
        _add(connection, HeldOutSet, (_held_out(n, places) for n in range(versions)))
        _add(connection, Memory, (_memory(n, places) for n in range(versions)))
        _add(connection, AliasMove, _moves(places))
        _add(connection, TaskEvent, (event for n in range(tasks) for event in _events(n)))
        _add(connection, TaskLog, ({"task_id": task_id(n), "text": LOG} for n in range(tasks)))
        _add(connection, AuditEntry, _audit(tasks))
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")


def ended_at(number: int) -> datetime:
    """Return when a task ended, if it did."""
    return _at(number + 1)


def _add(connection: Connection, table: Any, rows: Iterable[Row]) -> None:
    left = iter(rows)
    while batch := list(islice(left, BATCH)):
        connection.execute(insert(table), batch)


def task_id(number: int) -> str:
    """Return the id of a task, by its place in the order of posting from 0."""
    return str(UUID(int=number + 1, version=4))


def _places(versions: int) -> Iterator[tuple[int, int]]:
    """Yield the model (from 0) and the number of every version."""
    last = [0] * len(MODELS)
    for number in range(versions):
        model = 0 if number % 5 < 3 else 1 + number % (len(MODELS) - 1)
        last[model] += 1
        yield model, last[model]


def _names(number: int) -> list[str]:
    """Return what a version of this number knows, the newest last."""
    return [f"class {n}" for n in range(1, 3 + (number - 1) % LONGEST_LINE)]


def _classes() -> Iterator[Row]:
    for model in range(len(MODELS)):
        for index in range(1, LONGEST_LINE + 2):
            yield {"model_id": model + 1, "index": index, "name": f"class {index}"}


def _at(number: int) -> datetime:
    return START + timedelta(minutes=30 * number)


def _task(number: int, tasks: int, places: Sequence[tuple[int, int]]) -> Row:
    made = number < len(places)
    model = places[number][0] if made else (0 if number % 5 < 3 else number % len(MODELS))
    waits = number >= tasks - QUEUED
    state = TaskState.QUEUED if waits else END_STATES[number % len(END_STATES)]
    if made:
        state = TaskState.LIVE if number % 4 else TaskState.HELD
    spec = TaskSpec(name=f"task {number}", model=MODELS[model], classes=[f"class {number % 40}"])
    error = {
        "type": "https://sats.example/problems/invalid-dataset",
        "title": "The data set cannot be used",
        "status": 422,
        "detail": "JPEGImages/2007_000032.jpg: the JPEG picture is damaged or incomplete",
        "errors": [{"file": f"JPEGImages/{n}.jpg", "message": "damaged"} for n in range(5)],
    }
    progress = {
        "phase": "training",
        "epoch": 30,
        "epochs": 30,
        "step": 900,
        "steps": 900,
        "losses": {"cross_entropy": 0.41, "distillation": 0.03},
        "rate": 21.5,
    }
    return {
        "id": task_id(number),
        "model_id": model + 1,
        "state": state,
        "spec": spec.model_dump(mode="json"),
        "dataset": KEY,
        "dataset_bytes": 40_000_000,
        "created_at": _at(number),
        "started_at": None if waits else _at(number),
        "finished_at": None if waits else _at(number + 1),
        "submitter": LABEL_TEAM,
        "submitted_by": LABEL_TEAM.name,
        "request_digest": KEY,
        "warnings": ["12 pictures show none of the classes to learn"],
        "progress": None if waits else progress,
        "error": error if state == TaskState.FAILED else None,
    }


def _version(number: int, places: Sequence[tuple[int, int]]) -> Row:
    model, here = places[number]
    names = _names(here)
    base = (here - 1) % LONGEST_LINE == 0
    parent = None if base else places.index((model, here - 1)) + 1
    old = names[:-1]
    iou = dict.fromkeys(("background", *names), 0.7)
    forgetting = dict.fromkeys(old, 0.01)
    figures = [
        {"class_name": name, "kind": "old", "before": 0.71, "after": 0.7, "passed": True}
        for name in old
    ]
    return {
        "model_id": model + 1,
        "number": here,
        "parent_id": parent,
        "task_id": task_id(number),
        "created_at": _at(number),
        "classes": [
            {"index": i, "name": name, "colour": list(voc_colour(i)), "step": max(0, i - 2)}
            for i, name in enumerate(("background", *names))
        ],
        "new_classes": names if base else names[-1:],
        "settings": StepSettings().as_run(base=base),
        "backbone_start": "scratch",
        "scores": {
            "iou": iou,
            "introduced": iou,
            "forgetting": forgetting,
            "miou_old": 0.7,
            "miou_new": 0.6,
            "miou_all": 0.69,
            "mean_forgetting": 0.01,
            "pixel_accuracy": 0.9,
            "pictures": 200,
        },
        "gate": {"passed": True, "reasons": [], "figures": figures, "settings": {}, "waived": []},
        "files": {
            name: {"blob": KEY, "bytes": 14_000_000}
            for name in ("model.safetensors", "model.onnx", "config.json", "scores.json")
        },
        "seconds": 812.5,
        "forgetting_report": None if base else _report(forgetting),
    }


def _report(forgetting: dict[str, float]) -> Row:
    figures: Row = {
        "forgetting": forgetting,
        "lost": {"share": 0.1, "to_background": 0.5, "to_new": 0.3, "to_old": 0.2},
        "false_positives": {"on_old": 0.02, "on_background": 0.01},
        "norm_ratio": 1.1,
        "regained": {
            "as_is": 0.7,
            "new_masked": 0.72,
            "background_masked": 0.74,
            "parent_background_masked": 0.75,
        },
        "alignment": [{"old": 0.95, "background": 0.9, "new": 0.8}] * 4,
        "background_shift": 0.02,
    }
    return figures | {"pictures": 200, "readings": readings(figures)}


def _held_out(number: int, places: Sequence[tuple[int, int]]) -> Row:
    names = _names(places[number][1])
    return {"version_id": number + 1, "blob": KEY, "classes": names, "pictures": 40}


def _memory(number: int, places: Sequence[tuple[int, int]]) -> Row:
    return {
        "version_id": number + 1,
        "blob": KEY,
        "bytes": 9_000_000,
        "place": Place.BLOB_STORE,
        "pictures": 300,
        "classes": dict.fromkeys(_names(places[number][1]), 7),
    }


def _moves(places: Sequence[tuple[int, int]]) -> Iterator[Row]:
    """Every version goes live by itself; every third is taken back and promoted again."""
    last = [0] * len(MODELS)
    before: list[int | None] = [None] * len(MODELS)
    for number, (model, _) in enumerate(places):
        kinds = [("gate", number + 1)]
        if number % 3 == 0 and (was := before[model]) is not None:
            kinds += [("rollback", was), ("promote", number + 1)]
        for kind, version in kinds:
            last[model] += 1
            yield {
                "model_id": model + 1,
                "sequence": last[model],
                "version_id": version,
                "kind": kind,
                "moved_at": _at(number),
                "actor": Actor(ActorType.WORKER, "worker-1") if kind == "gate" else EVA,
            }
        before[model] = number + 1


def _events(number: int) -> Iterator[Row]:
    labelled = [LABELLED | {"class_name": f"class {n}"} for n in range(20)]
    told = [
        ("state", {"state": "validating"}),
        ("labels", LABELS | {"classes": labelled}),
        ("warning", {"message": "12 pictures show none of the classes to learn"}),
        ("state", {"state": "training"}),
        *(("epoch", {"epoch": n, "losses": {"cross_entropy": 0.4}}) for n in range(1, 11)),
        ("progress", {"phase": "evaluating", "step": 40, "steps": 40}),
        ("state", {"state": "live"}),
    ]
    for kind, data in told:
        yield {"task_id": task_id(number), "at": _at(number), "kind": kind, "data": data}


def _audit(tasks: int) -> Iterator[Row]:
    previous = FIRST
    for number in range(tasks):
        entry = AuditEntry(
            at=_at(number),
            action=Action.TASK_POST if number % 10 else Action.PROMOTE,
            actor_type="key",
            actor_name="label team" if number % 10 else "eva",
            request_id=KEY[:32],
            model=MODELS[0 if number % 5 < 3 else number % len(MODELS)],
            object=f"/tasks/{task_id(number)}",
            before=None,
            after={"name": f"task {number}", "state": "queued"},
            previous=previous,
        )
        entry.hash = previous = entry_hash(entry)
        columns = AuditEntry.__table__.columns.keys()
        yield {name: getattr(entry, name) for name in columns if name != "id"}
