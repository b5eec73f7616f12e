"""A stand-in for the training process, for tests of what surrounds it.

It speaks the real protocol (job file, events, result folder), dies with its parent by the real
means, keeps a checkpoint, and does what the plan in its control folder says. Run as
`python scripted_child.py CONTROL JOB.json`.
"""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sats_core.classes import Catalogue, ClassInfo
from sats_core.evaluation.scores import Scores
from sats_core.events import (
    DoneEvent,
    Event,
    FailedEvent,
    Fault,
    LabelsEvent,
    PhaseEvent,
    ProgressEvent,
    WarningEvent,
)
from sats_core.files import write_whole
from sats_core.job import (
    CHECKPOINT,
    ImportJob,
    ImportResult,
    Job,
    Membership,
    MemoryRecord,
    Origin,
    Piggyback,
    Proof,
    RetireJob,
    RetireResult,
    StepJob,
    StepResult,
    parse_job,
)
from sats_core.label_report import ClassLabels, LabelReport, LabelWarning
from worker.child import STOPPED, die_with_parent


@dataclass
class Plan:
    """What the child does."""

    epochs: int = 2
    epoch_seconds: float = 0.0
    gated: int | None = None  # stays at this epoch, from 0, until the test says `let_on`
    crash_epoch: int | None = None  # die in the middle of this epoch...
    crash_starts: int = 1  # ... as often as this
    crash_signal: int = signal.SIGKILL
    fail: str | None = None
    fail_cause: str = "input"
    affords: int = 512  # pictures at once, before memory runs out while it trains
    affords_to_evaluate: bool = True
    vmstat: str | None = None  # where the kernel counts its kills; None: it tells by an event
    stderr: str | None = None
    iou: dict[str, float] = field(default_factory=dict)
    default_iou: float = 0.8
    warning: str | None = None
    suspect: str | None = None  # a serious warning about the labels
    deaf: bool = False  # does not hear SIGTERM
    ends_epoch: bool = False  # asked to stop, it finishes the epoch that it is at
    exit_status: int = 0  # after the result is written
    write_result: bool = True
    noise: bool = False  # writes what is no event
    orphan: bool = False  # leaves a process behind that holds its stdout
    progress_per_epoch: int = 1
    miou_lost: float = 0.0  # of what stays, in a retirement


@dataclass
class Trace:
    """One start of the child, as it wrote it down."""

    pid: int
    epoch: int
    job: Any


class Control:
    """The folder through which a test and its children speak."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def plan(self, **changes: object) -> None:
        asked = vars(Plan(**changes))  # type: ignore[arg-type]
        # What is as ever is left out: the child of the release before knows fewer fields.
        text = json.dumps({name: asked[name] for name in changes})
        write_whole(self.path / "plan.json", text.encode())

    def read_plan(self) -> Plan:
        return Plan(**json.loads((self.path / "plan.json").read_text()))

    def let_on(self) -> None:
        """Let children go on that are at a gate, or will be."""
        (self.path / "on").touch()

    def waits(self, plan: Plan, epoch: int) -> bool:
        """Whether a child stays at this epoch."""
        return epoch == plan.gated and not (self.path / "on").exists()

    def starts(self) -> list[Trace]:
        """Every start so far, in order."""
        log = self.path / "starts.jsonl"
        if not log.exists():
            return []
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        return [Trace(row["pid"], row["epoch"], parse_job(row["job"])) for row in rows]

    def seen(self) -> dict[str, str]:
        """The weights of the versions that lay before the last retirement."""
        found: dict[str, str] = json.loads((self.path / "seen.json").read_text())
        return found

    def command(self) -> list[str]:
        return [sys.executable, __file__, str(self.path)]


def main(control: Control, job_file: Path) -> int:
    die_with_parent()
    plan = control.read_plan()
    stop: list[int] = []
    if plan.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    job = parse_job(job_file.read_bytes())
    checkpoint = job.work / CHECKPOINT
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    with (control.path / "starts.jsonl").open("a") as log:
        row = {"pid": os.getpid(), "epoch": first, "job": job.model_dump_json()}
        log.write(json.dumps(row) + "\n")
    if plan.noise:
        say("this is no event")
        say('{"event": "unheard of"}')
    if plan.orphan:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    if plan.stderr:
        sys.stderr.write(plan.stderr)
        sys.stderr.flush()
    emit(PhaseEvent(phase="validating"))
    if plan.warning:
        emit(WarningEvent(message=plan.warning))
    if isinstance(job, StepJob):
        emit(LabelsEvent(report=labels(job, plan)))
    if plan.fail:
        fault = Fault(reason="broken", file="JPEGImages/a.jpg", class_name="cat", code="unreadable")
        emit(FailedEvent(cause=plan.fail_cause, message=plan.fail, faults=(fault,)))
        return 0
    emit(PhaseEvent(phase="training"))
    if isinstance(job, StepJob) and job.at_once > plan.affords:
        return run_out_of_memory(plan)
    for epoch in range(first, plan.epochs):
        for _ in range(plan.progress_per_epoch):
            emit(progress(epoch, plan, epoch_end=False))
        deadline = time.monotonic() + plan.epoch_seconds
        while (time.monotonic() < deadline or control.waits(plan, epoch)) and not stop:
            time.sleep(0.01)
        if stop and not plan.ends_epoch:
            return STOPPED
        if epoch == plan.crash_epoch and len(control.starts()) <= plan.crash_starts:
            os.kill(os.getpid(), plan.crash_signal)
        write_whole(checkpoint, str(epoch + 1).encode())
        emit(progress(epoch + 1, plan, epoch_end=True))
        if stop:
            return STOPPED
    emit(PhaseEvent(phase="evaluating"))
    if not plan.affords_to_evaluate:
        return run_out_of_memory(plan)
    if plan.write_result:
        if isinstance(job, ImportJob):
            write_import_result(job, plan)
        elif isinstance(job, RetireJob):
            write_retire_result(job, plan, control)
        else:
            write_result(job, plan)
        emit(DoneEvent())
    return plan.exit_status


def run_out_of_memory(plan: Plan) -> int:
    if plan.vmstat is None:
        emit(FailedEvent(cause="memory", message="memory ran out: 9 GiB"))
        return 0
    Path(plan.vmstat).write_text("nr_free_pages 1\noom_kill 8\n")
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


def emit(event: Event) -> None:
    say(event.model_dump_json())


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def progress(epoch: int, plan: Plan, epoch_end: bool) -> ProgressEvent:
    return ProgressEvent(
        phase="training",
        epoch=epoch,
        epochs=plan.epochs,
        step=epoch,
        steps=plan.epochs,
        losses={"cross_entropy": 1.0 / (1 + epoch)},
        epoch_end=epoch_end,
    )


def labels(job: StepJob, plan: Plan) -> LabelReport:
    figures = {"outline_fit": 0.2, "called": None, "called_share": None, "told_apart": None}
    suspect = ()
    if plan.suspect:
        suspect = (LabelWarning(fault="outlines", serious=True, message=plan.suspect),)
    return LabelReport(
        pictures=4,
        classes=tuple(
            ClassLabels(class_name=name, pictures=3, share=0.25, share_where_shown=0.5, **figures)
            for name in job.new_classes
        ),
        duplicates=0,
        held_out_duplicates=0,
        warnings=suspect,
    )


def write_result(job: StepJob, plan: Plan) -> None:
    before = {"classes": []}
    if job.old_version is not None:
        before = json.loads((job.old_version / "config.json").read_text())
    catalogue = catalogue_of(before["classes"]).grow(job.new_classes, job.indices)
    classes = write_version(job, catalogue, f"weights of {catalogue.foreground}")
    held_out = 0
    if job.held_out.keep:
        kept = job.result / "held_out.zip"
        held_out = write_one(kept, job.dataset, b"not looked at", job.new_classes)
    iou = {name: plan.iou.get(name, plan.default_iou) for name in catalogue.foreground}
    scores = Scores(
        iou={"background": 0.9, **iou},
        introduced=dict(iou),
        forgetting={},
        miou_old=None,
        miou_new=plan.default_iou,
        miou_all=plan.default_iou,
        mean_forgetting=None,
        pixel_accuracy=0.9,
        pictures=1 + len(job.earlier),
    )
    memory = None
    if job.settings.memory:
        content = f"of {job.new_classes}".encode()
        write_one(job.result / "memory.zip", job.dataset, content, catalogue.foreground)
        memory = MemoryRecord(pictures=1, classes=dict.fromkeys(catalogue.foreground, 1))
    result = StepResult(
        classes=classes,
        scores=scores,
        settings=job.settings.as_run(base=not job.old_version),
        backbone_start="scratch",
        trained_pictures=1,
        held_out_pictures=held_out,
        labels=labels(job, plan),
        memory=memory,
        replayed_pictures=1 if job.memory else 0,
        seconds=0.1,
    )
    write_whole(job.result / "result.json", result.model_dump_json().encode())


def catalogue_of(classes: Sequence[dict[str, Any]]) -> Catalogue:
    """The catalogue that a version's config lists, without the background."""
    known = (ClassInfo(c["index"], c["name"], tuple(c["colour"]), c["step"]) for c in classes)
    return Catalogue((*Catalogue.empty().classes, *known))


def write_retire_result(job: RetireJob, plan: Plan, control: Control) -> None:
    lying = {"old": job.old_version, "unaware": job.unaware}
    weights = {n: (p / "model.safetensors").read_text() for n, p in lying.items() if p is not None}
    write_whole(control.path / "seen.json", json.dumps(weights).encode())
    before = json.loads((job.old_version / "config.json").read_text())["classes"]
    kept = [one for one in before if one["name"] not in job.classes]
    catalogue = catalogue_of(kept)
    written = write_version(job, catalogue, f"weights without {job.classes} at {job.depth}")
    iou = {name: plan.iou.get(name, plan.default_iou) for name in catalogue.foreground}
    memory = None
    if job.memory is not None:
        write_one(job.result / "memory.zip", job.memory, b"what stays", catalogue.foreground)
        memory = MemoryRecord(pictures=1, classes=dict.fromkeys(catalogue.foreground, 1))
    result = RetireResult(
        classes=written,
        retired=job.classes,
        depth=job.depth,
        scores=Scores(
            iou={"background": 0.9, **iou},
            introduced=dict(iou),
            forgetting={},
            miou_old=plan.default_iou,
            miou_new=None,
            miou_all=plan.default_iou,
            mean_forgetting=None,
            pixel_accuracy=0.9,
            pictures=len(job.earlier),
        ),
        settings=job.settings.as_run(base=False),
        proof=Proof(
            pictures="posted" if job.dataset else "none",
            miou_before=0.8,
            miou_after=0.8 - plan.miou_lost,
            to_background=0.97,
            piggyback=Piggyback(
                before=0.7,
                after=0.4,
                unaware=0.35,
                gap_closed=0.857,
                pictures=8,
                scored_pictures=12,
            ),
            membership=Membership(before=0.61, after=0.53, members=20, others=20),
        ),
        memory=memory,
        seconds=0.1,
    )
    write_whole(job.result / "result.json", result.model_dump_json().encode())


def write_one(path: Path, dataset: Path, picture: bytes, classes: Sequence[str]) -> int:
    """Write a zip in VOC layout with the first mask of a posted one; return how many it holds.

    By hand: what reads and writes data sets takes longer to import than all that is done here.
    """
    with zipfile.ZipFile(dataset) as posted:
        masks = [name for name in posted.namelist() if "SegmentationClass/" in name]
        name, mask = (min(masks), posted.read(min(masks))) if masks else ("one.png", b"no mask")
    names = enumerate(("background", *classes))
    entries = {
        "classes.txt": "".join(f"{index} {name}\n" for index, name in names).encode(),
        f"JPEGImages/{Path(name).stem}.jpg": picture,
        f"SegmentationClass/{Path(name).name}": mask,
    }
    with zipfile.ZipFile(path, "w") as kept:
        for entry, data in entries.items():
            kept.writestr(zipfile.ZipInfo(entry), data)
    return 1


def write_version(job: Job, catalogue: Catalogue, weights: str) -> tuple[dict[str, Any], ...]:
    classes = tuple(
        {"index": c.index, "name": c.name, "colour": c.colour, "step": c.step}
        for c in catalogue.classes
    )
    version = job.result / "version"
    version.mkdir()
    (version / "config.json").write_text(json.dumps({"classes": classes[1:]}))
    (version / "model.safetensors").write_text(weights)
    return classes


def write_import_result(job: ImportJob, plan: Plan) -> None:
    catalogue = Catalogue.empty().grow(job.classes, job.indices)
    classes = write_version(job, catalogue, f"weights of {job.source_name}")
    iou: dict[str, float | None] = dict.fromkeys(catalogue.names)
    held_out = 0
    if job.evaluate:
        with zipfile.ZipFile(job.evaluate) as posted:
            lines = posted.read("classes.txt").decode().splitlines()
        labelled = [line.partition(" ")[2] for line in lines]
        known = [name for name in labelled if name in catalogue.foreground]
        kept = job.result / "held_out.zip"
        held_out = write_one(kept, job.evaluate, b"not looked at", known)
        iou |= {"background": 0.9, **{n: plan.iou.get(n, plan.default_iou) for n in known}}
    mean = plan.default_iou if held_out else None
    result = ImportResult(
        classes=classes,
        scores=Scores(
            iou=iou,
            introduced={name: iou[name] for name in catalogue.foreground},
            forgetting={},
            miou_old=None,
            miou_new=mean,
            miou_all=mean,
            mean_forgetting=None,
            pixel_accuracy=mean,
            pictures=held_out,
        ),
        origin=Origin(
            source=job.source_name,
            sha256="a" * 64,
            architecture="SegformerForSemanticSegmentation",
            transformers=None,
            background=job.background,
        ),
        backbone="mit_b0",
        backbone_start=f"imported: {job.source_name}",
        size=512,
        held_out_pictures=held_out,
        seconds=0.1,
    )
    write_whole(job.result / "result.json", result.model_dump_json().encode())


if __name__ == "__main__":
    sys.exit(main(Control(Path(sys.argv[1])), Path(sys.argv[2])))
