"""A service with something to show: versions that branch, tasks in every state."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.db import (
    HeldOutSet,
    Model,
    ModelClass,
    Task,
    TaskEvent,
    TaskLog,
    TaskState,
    Version,
    utc_now,
    write_session,
)
from app.registry.gate import GateSettings, judge
from app.registry.moves import go_live
from app.registry.service import assign_indices, ensure_model
from app.storage import BlobStore
from app.tasks.schemas import TaskSpec
from sats_core.classes import BACKGROUND, voc_colour
from sats_core.evaluation.forgetting import readings
from sats_core.evaluation.scores import Confusion, Scores
from sats_core.label_report import ClassLabels, LabelReport
from sats_core.settings import StepSettings

EPOCHS = 12


@dataclass(frozen=True)
class Step:
    """A version to be made: what it learns, on top of which, and how well it does.

    Attributes:
        new: classes that it brings.
        iou: of every class that it knows, background first.
        parent: number of the version it starts from.
        live: whether it goes live.
    """

    new: Sequence[str]
    iou: Mapping[str, float]
    parent: int | None = None
    live: bool = True


def _iou(**given: float) -> dict[str, float]:
    return {"background": 0.91, **given}


STEPS = (
    Step(["person", "dog", "cat", "horse"], _iou(person=0.71, dog=0.66, cat=0.74, horse=0.62)),
    Step(["sheep"], _iou(person=0.70, dog=0.645, cat=0.73, horse=0.60, sheep=0.58), 1),
    Step(
        ["cow"], _iou(person=0.70, dog=0.64, cat=0.72, horse=0.41, sheep=0.55, cow=0.52), 2, False
    ),
    Step(["cow"], _iou(person=0.70, dog=0.64, cat=0.725, horse=0.585, sheep=0.56, cow=0.55), 2),
    Step(
        ["chair", "sofa"],
        _iou(
            person=0.69, dog=0.63, cat=0.72, horse=0.58, sheep=0.57, cow=0.54, chair=0.33, sofa=0.47
        ),
        4,
    ),
)


def furnish(engine: Engine, blobs: BlobStore) -> dict[str, str]:
    """Fill a database; returns the ids of its tasks by name."""
    with write_session(engine) as session:
        model = ensure_model(session, "default")
        session.flush()
        ids = {}
        for number, step in enumerate(STEPS, 1):
            task = _version(session, blobs, model, number, step)
            ids[f"version {number}"] = task.id
        for task in _tasks(session, model):
            ids[str(task.spec["name"])] = task.id
    return ids


def _version(session: Session, blobs: BlobStore, model: Model, number: int, step: Step) -> Task:
    when = utc_now() - timedelta(hours=7 * (len(STEPS) - number) + 2)
    state = TaskState.LIVE if step.live else TaskState.HELD
    task = _task(session, model, ", ".join(step.new), state, list(step.new))
    task.created_at, task.started_at = when - timedelta(minutes=9), when - timedelta(minutes=8)
    task.finished_at = when
    _history(session, task, EPOCHS)
    session.add(TaskEvent(task_id=task.id, kind="state", data={"state": state}, at=when))
    version = _made(session, blobs, task, number, step)
    version.created_at = when
    if step.live:
        go_live(session, version)
    session.flush()
    return task


def _made(session: Session, blobs: BlobStore, task: Task, number: int, step: Step) -> Version:
    """Register what a task has made."""
    parent = session.query(Version).filter_by(model=task.model, number=step.parent).one_or_none()
    before = _scores(parent.scores["iou"], {}, ()) if parent else None
    introduced = {**(parent.scores["introduced"] if parent else {})}
    introduced |= {name: step.iou[name] for name in step.new}
    scores = _scores(step.iou, introduced, step.new)
    verdict = judge(GateSettings(), scores, before, step.new, live_moved=False)
    files = {
        name: blobs.put(io.BytesIO(f"{name} of {number}".encode() * size))
        for name, size in (("model.onnx", 9000), ("model.safetensors", 8000), ("config.json", 20))
    }
    indices = _learned(session, task.model, list(step.iou))
    version = Version(
        model=task.model,
        number=number,
        parent_id=parent.id if parent else None,
        task_id=task.id,
        classes=[
            {"index": at, "name": name, "colour": list(voc_colour(at)), "step": 0}
            for name, at in zip(step.iou, indices, strict=True)
        ],
        new_classes=list(step.new),
        settings=StepSettings(method="sats_plus" if parent else "finetune").model_dump(mode="json"),
        backbone_start="timm hub: pvt_v2_b0.in1k",
        scores=scores.model_dump(mode="json"),
        gate=verdict.model_dump(mode="json"),
        files={name: {"blob": blob.key, "bytes": blob.size} for name, blob in files.items()},
        seconds=431.0,
        forgetting_report=forgetting_report(scores) if parent else None,
        confusion=_confusion(list(step.iou), step.new).model_dump(mode="json") if parent else None,
    )
    session.add(version)
    session.flush()
    session.add(
        HeldOutSet(version_id=version.id, blob="0" * 64, classes=list(step.new), pictures=61)
    )
    task.version_id = version.id
    return version


def _learned(session: Session, model: Model, names: Sequence[str]) -> list[int]:
    """Return the index of each class, background first; new ones are given theirs."""
    indices = [BACKGROUND, *assign_indices(session, model.id, names[1:])]
    known = set(session.scalars(select(ModelClass.name).where(ModelClass.model_id == model.id)))
    for name, index in zip(names[1:], indices[1:], strict=True):
        if name not in known:
            session.add(ModelClass(model_id=model.id, name=name, index=index))
    return indices


def _scores(
    iou: Mapping[str, float], introduced: Mapping[str, float], new: Sequence[str]
) -> Scores:
    old = [value for name, value in iou.items() if name not in new]
    lost = {name: introduced[name] - iou[name] for name in introduced if name not in new}
    return Scores(
        iou=dict(iou),
        introduced=dict(introduced),
        forgetting=lost,
        miou_old=sum(old) / len(old) if lost else None,
        miou_new=sum(iou[name] for name in new) / max(1, len(new)),
        miou_all=sum(iou.values()) / len(iou),
        mean_forgetting=sum(lost.values()) / len(lost) if lost else None,
        pixel_accuracy=0.93,
        pictures=210,
        earlier_background=iou["background"],
    )


def forgetting_report(scores: Scores) -> dict[str, object]:
    """Return causes of forgetting, made up but for the scores."""
    figures = {
        "forgetting": scores.forgetting,
        "lost": {"share": 0.083, "to_background": 0.61, "to_new": 0.27, "to_old": 0.12},
        "false_positives": {"on_old": 0.031, "on_background": 0.012},
        "norm_ratio": 1.08,
        "regained": {
            "as_is": 0.63,
            "new_masked": 0.65,
            "background_masked": 0.71,
            "parent_background_masked": 0.73,
        },
        "alignment": [{"old": 0.98, "background": 0.97, "new": 0.95}] * 4,
        "background_shift": 0.04,
    }
    return {**figures, "pictures": 210, "readings": readings(figures)}


def _confusion(names: Sequence[str], new: Sequence[str]) -> Confusion:
    """Return how classes are taken for the background, and for the one beside them."""
    shown = 40_000
    now = np.diag([shown] * len(names))
    for at in range(1, len(names)):
        now[at, 0], now[at, at - 1] = 900 * at, 2_000 + 400 * at
        now[at, at] -= now[at, 0] + now[at, at - 1]
    before = now.copy()
    for name in new:
        at = names.index(name)
        before[:, 0] += before[:, at]
        before[:, at] = 0
    rows = [tuple(map(tuple, counts.tolist())) for counts in (now, before)]
    return Confusion(classes=tuple(names), pixels=rows[0], before=rows[1], pictures=210)


def _task(
    session: Session, model: Model, name: str, state: TaskState, classes: list[str] | None = None
) -> Task:
    task = Task(
        model=model,
        state=state,
        spec=TaskSpec(
            name=name, model=model.name, classes=classes, method="sats_plus", epochs=EPOCHS
        ).model_dump(mode="json"),
        dataset="0" * 64,
        dataset_bytes=0,
        request_digest="0" * 64,
        warnings=[],
    )
    session.add(task)
    session.flush()
    return task


def _history(session: Session, task: Task, epochs: int) -> None:
    """Tell how a task went on, so many epochs far; with them its phases and its log."""
    begun = task.started_at or utc_now()
    states = (
        ("queued", task.created_at),
        ("validating", begun),
        ("training", begun + timedelta(seconds=21)),
    )
    for state, at in states:
        session.add(TaskEvent(task_id=task.id, kind="state", data={"state": state}, at=at))
        session.flush()
    for epoch in range(1, epochs + 1):
        session.add(TaskEvent(task_id=task.id, kind="epoch", data=progress(epoch)))
    if epochs == EPOCHS:
        at = (task.finished_at or utc_now()) - timedelta(seconds=40)
        session.add(TaskEvent(task_id=task.id, kind="state", data={"state": "evaluating"}, at=at))
    lines = [f"{begun:%FT%TZ} training"] + [
        f"{begun:%FT%TZ} epoch {epoch} of {EPOCHS}: cross_entropy {0.9 / epoch:.4f}"
        for epoch in range(1, epochs + 1)
    ]
    session.add(TaskLog(task_id=task.id, text="\n".join(lines) + "\n"))


def progress(epoch: int) -> dict[str, object]:
    """What a task that trains tells at the end of an epoch."""
    losses = {
        "cross_entropy": 0.2 + 0.9 / epoch,
        "distillation": 0.11 + 0.3 / epoch,
        "self_attention": 0.05 + 0.2 / epoch**1.5,
    }
    return {
        "phase": "training",
        "epoch": epoch,
        "epochs": EPOCHS,
        "step": 40,
        "steps": 40,
        "losses": losses,
        "learning_rate": 0.001,
        "rate": 23.4,
        "eta_seconds": 31.0 * (EPOCHS - epoch),
    }


def _labels(name: str) -> dict[str, object]:
    of_class = ClassLabels(
        class_name=name,
        pictures=83,
        share=0.072,
        share_where_shown=0.11,
        outline_fit=0.24,
        called=None,
        called_share=None,
        told_apart=None,
    )
    found = LabelReport(
        pictures=96, classes=(of_class,), duplicates=12, held_out_duplicates=0, warnings=()
    )
    return found.model_dump(mode="json")


def _tasks(session: Session, model: Model) -> list[Task]:
    now = utc_now()
    failed = _task(session, model, "tables", TaskState.FAILED)
    failed.created_at, failed.finished_at = now - timedelta(hours=3), now - timedelta(hours=2)
    failed.error = {
        "type": "urn:sats:problem:invalid-dataset",
        "title": "The data set cannot be used",
        "status": 422,
        "detail": "2 files are at fault",
        "errors": [
            {
                "code": "invalid",
                "file": f"SegmentationClass/{number}.png",
                "message": "the mask is 32x32, its picture 48x32",
            }
            for number in (14, 15)
        ],
    }
    cancelled = _task(session, model, "posted by mistake", TaskState.CANCELLED)
    cancelled.created_at = now - timedelta(minutes=52)
    cancelled.finished_at = now - timedelta(minutes=50)
    running = _task(session, model, "bicycles from the yard", TaskState.TRAINING, ["bicycle"])
    running.created_at, running.started_at = now - timedelta(minutes=6), now - timedelta(minutes=4)
    running.progress, running.worker = progress(5), "trainer-1:4711"
    running.lease_until = now.timestamp() + 3600
    running.warnings = [
        "12 pictures of 96 to train on look the same as another one: they teach nothing new"
    ]
    _history(session, running, 5)
    session.add(TaskEvent(task_id=running.id, kind="labels", data=_labels("bicycle")))
    waits = _task(session, model, "buses", TaskState.QUEUED, ["bus"])
    return [running, waits, failed, cancelled]


def begin(engine: Engine, task_id: str) -> None:
    """Let a task begin, as a worker would."""
    with write_session(engine) as session:
        _free(session)
        task = session.get_one(Task, task_id)
        task.started_at = utc_now()
        _enter(session, task, TaskState.VALIDATING)


def _free(session: Session) -> None:
    """End what runs: tasks of one model run one after another."""
    for task in session.query(Task).filter_by(state=TaskState.TRAINING):
        task.state, task.finished_at = TaskState.CANCELLED, utc_now()


def _enter(session: Session, task: Task, state: TaskState) -> None:
    task.state = state
    session.add(TaskEvent(task_id=task.id, kind="state", data={"state": state}))


def go_on(engine: Engine, task_id: str, epoch: int) -> None:
    """Let a task finish an epoch."""
    with write_session(engine) as session:
        task = session.get_one(Task, task_id)
        if epoch == 1:
            _enter(session, task, TaskState.TRAINING)
        task.progress = progress(epoch)
        session.add(TaskEvent(task_id=task_id, kind="epoch", data=task.progress))
        log = session.get(TaskLog, task_id) or TaskLog(task_id=task_id, text="")
        log.text += f"epoch {epoch} of {EPOCHS}\n"
        session.add(log)


def finish(engine: Engine, blobs: BlobStore, task_id: str) -> int:
    """Let a task end with a version that is held because of `horse`; returns its number."""
    with write_session(engine) as session:
        task = session.get_one(Task, task_id)
        iou = {**STEPS[-1].iou, "horse": 0.3, "bus": 0.5}
        step = Step(["bus"], iou, len(STEPS), live=False)
        _made(session, blobs, task, len(STEPS) + 1, step)
        task.finished_at = utc_now()
        task.progress = None
        _enter(session, task, TaskState.HELD)
    return len(STEPS) + 1


def fail(engine: Engine, blobs: BlobStore, task_id: str, why: str) -> None:
    """Let a task fail; it can be tried again."""
    with write_session(engine) as session:
        task = session.get_one(Task, task_id)
        task.dataset = blobs.put(io.BytesIO(b"what was posted")).key
        title = "The data set cannot be used"
        task.error = {
            "type": "urn:sats:problem:invalid-dataset",
            "title": title,
            "status": 422,
            "detail": why,
            "errors": [],
        }
        task.finished_at = utc_now()
        _enter(session, task, TaskState.FAILED)
