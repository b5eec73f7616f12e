"""A stand-in for the training process, for tests of what surrounds it.

It speaks the real protocol (job file, events, result folder), dies with its parent by the real
means, keeps a checkpoint, and does what the plan in its control folder says. Run as
`python scripted_child.py CONTROL JOB.json`.

Tests start it hundreds of times, so it reads and writes plain JSON: to make the records of the real
protocol takes three times as long as all that is done here. `test_scripted_child.py` holds what it
says to those records, and `Control.starts` the jobs that it was given.
"""

import json
import os
import signal
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sats_core.classes import Catalogue, ClassInfo
from sats_core.files import write_whole
from worker.child import STOPPED, die_with_parent

Json = dict[str, Any]
CHECKPOINT = "checkpoint.safetensors"
DESCENT = (
    "epochs",
    "batch_size",
    "accumulate",
    "checkpoint_activations",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "warmup",
    "gradient_clip",
)
"""Settings that a step of `frozen` does not read."""


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
    needs_halvings: int = 0  # of what is computed at once, before memory suffices to train
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

    @property
    def rows_file(self) -> Path:
        return self.path / "starts.jsonl"

    def rows(self) -> list[Json]:
        """Every start so far, in order, as written down."""
        if not self.rows_file.exists():
            return []
        return [json.loads(line) for line in self.rows_file.read_text().splitlines()]

    def starts(self) -> list[Trace]:
        """Every start so far, in order.

        Raises:
            pydantic.ValidationError: one was given a job that the real child would not have read.
        """
        from sats_core.job import parse_job  # not in the child: see above

        return [Trace(row["pid"], row["epoch"], parse_job(row["job"])) for row in self.rows()]

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
    text = job_file.read_text()
    job: Json = json.loads(text)
    checkpoint = Path(job["work"]) / CHECKPOINT
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    row = json.dumps({"pid": os.getpid(), "epoch": first, "job": text})
    with control.rows_file.open("ab", buffering=0) as log:  # in one piece: others read it
        log.write(row.encode() + b"\n")
    if plan.noise:
        say("this is no event")
        say('{"event": "unheard of"}')
    if plan.orphan:
        import subprocess  # for this alone

        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    if plan.stderr:
        sys.stderr.write(plan.stderr)
        sys.stderr.flush()
    emit("phase", phase="validating")
    if plan.warning:
        emit("warning", message=plan.warning)
    if job["kind"] == "step":
        emit("labels", report=labels(job, plan))
    if plan.fail:
        fault = {"reason": "broken", "file": "JPEGImages/a.jpg", "class_name": "cat"}
        faults = [fault | {"code": "unreadable"}]
        emit("failed", cause=plan.fail_cause, message=plan.fail, faults=faults)
        return 0
    emit("phase", phase="training")
    if job["kind"] == "step" and job["halvings"] < plan.needs_halvings:
        return run_out_of_memory(plan)
    for epoch in range(first, plan.epochs):
        for _ in range(plan.progress_per_epoch):
            emit("progress", **progress(epoch, plan, epoch_end=False))
        deadline = time.monotonic() + plan.epoch_seconds
        while (time.monotonic() < deadline or control.waits(plan, epoch)) and not stop:
            time.sleep(0.01)
        if stop and not plan.ends_epoch:
            return STOPPED
        if epoch == plan.crash_epoch and len(control.rows()) <= plan.crash_starts:
            os.kill(os.getpid(), plan.crash_signal)
        write_whole(checkpoint, str(epoch + 1).encode())
        emit("progress", **progress(epoch + 1, plan, epoch_end=True))
        if stop:
            return STOPPED
    emit("phase", phase="evaluating")
    if not plan.affords_to_evaluate:
        return run_out_of_memory(plan)
    if plan.write_result:
        if job["kind"] == "import":
            write_import_result(job, plan)
        elif job["kind"] == "retire":
            write_retire_result(job, plan, control)
        else:
            write_result(job, plan)
        emit("done")
    return plan.exit_status


def run_out_of_memory(plan: Plan) -> int:
    if plan.vmstat is None:
        emit("failed", cause="memory", message="memory ran out: 9 GiB")
        return 0
    Path(plan.vmstat).write_text("nr_free_pages 1\noom_kill 8\n")
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


def emit(event: str, **of_it: Any) -> None:
    say(json.dumps({"event": event, **of_it}))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def progress(epoch: int, plan: Plan, epoch_end: bool) -> Json:
    return {
        "phase": "training",
        "epoch": epoch,
        "epochs": plan.epochs,
        "step": epoch,
        "steps": plan.epochs,
        "losses": {"cross_entropy": 1.0 / (1 + epoch)},
        "epoch_end": epoch_end,
    }


def labels(job: Json, plan: Plan) -> Json:
    figures = {"pictures": 3, "share": 0.25, "share_where_shown": 0.5, "outline_fit": 0.2}
    figures |= dict.fromkeys(("called", "called_share", "told_apart"))
    suspect = {"fault": "outlines", "serious": True, "message": plan.suspect}
    return {
        "pictures": 4,
        "classes": [{"class_name": name, **figures} for name in job["new_classes"]],
        "duplicates": 0,
        "held_out_duplicates": 0,
        "warnings": [suspect] if plan.suspect else [],
    }


def write_result(job: Json, plan: Plan) -> None:
    before = listed(job["old_version"]) if job["old_version"] else []
    catalogue = catalogue_of(before).grow(job["new_classes"], job["indices"])
    classes = write_version(job, catalogue, f"weights of {catalogue.foreground}")
    result, dataset = Path(job["result"]), Path(job["dataset"])
    held_out = 0
    if job["held_out"]["keep"]:
        kept = result / "held_out.zip"
        held_out = write_one(kept, dataset, b"not looked at", job["new_classes"])
    memory = None
    if job["settings"]["memory"]:
        content = f"of {job['new_classes']}".encode()
        memory = write_memory(result, dataset, content, catalogue)
    write_record(
        job,
        classes=classes,
        scores=scores(
            iou_of(catalogue, plan),
            miou_new=plan.default_iou,
            miou_all=plan.default_iou,
            pictures=1 + len(job["earlier"]),
        ),
        settings=as_run(job["settings"], base=not job["old_version"]),
        backbone_start="scratch",
        trained_pictures=1,
        held_out_pictures=held_out,
        labels=labels(job, plan),
        memory=memory,
        replayed_pictures=1 if job["memory"] else 0,
    )


def write_retire_result(job: Json, plan: Plan, control: Control) -> None:
    lying = {"old": job["old_version"], "unaware": job["unaware"]}
    weights = {n: (Path(p) / "model.safetensors").read_text() for n, p in lying.items() if p}
    write_whole(control.path / "seen.json", json.dumps(weights).encode())
    kept = [one for one in listed(job["old_version"]) if one["name"] not in job["classes"]]
    catalogue = catalogue_of(kept)
    retired = tuple(job["classes"])
    classes = write_version(job, catalogue, f"weights without {retired} at {job['depth']}")
    memory = None
    if job["memory"]:
        memory = write_memory(Path(job["result"]), Path(job["memory"]), b"what stays", catalogue)
    piggyback = {"before": 0.7, "after": 0.4, "unaware": 0.35, "gap_closed": 0.857}
    write_record(
        job,
        kind="retire",
        classes=classes,
        retired=retired,
        depth=job["depth"],
        scores=scores(
            iou_of(catalogue, plan),
            miou_old=plan.default_iou,
            miou_all=plan.default_iou,
            pictures=len(job["earlier"]),
        ),
        settings=as_run(job["settings"], base=False),
        proof={
            "pictures": "posted" if job["dataset"] else "none",
            "miou_before": 0.8,
            "miou_after": 0.8 - plan.miou_lost,
            "to_background": 0.97,
            "piggyback": piggyback | {"pictures": 8, "scored_pictures": 12},
            "membership": {"before": 0.61, "after": 0.53, "members": 20, "others": 20},
        },
        memory=memory,
    )


def write_import_result(job: Json, plan: Plan) -> None:
    catalogue = Catalogue.empty().grow(job["classes"], job["indices"])
    classes = write_version(job, catalogue, f"weights of {job['source_name']}")
    iou: dict[str, float | None] = dict.fromkeys(catalogue.names)
    held_out = 0
    if job["evaluate"]:
        with zipfile.ZipFile(job["evaluate"]) as posted:
            lines = posted.read("classes.txt").decode().splitlines()
        labelled = [line.partition(" ")[2] for line in lines]
        known = [name for name in labelled if name in catalogue.foreground]
        kept = Path(job["result"]) / "held_out.zip"
        held_out = write_one(kept, Path(job["evaluate"]), b"not looked at", known)
        iou |= {"background": 0.9, **{n: plan.iou.get(n, plan.default_iou) for n in known}}
    mean = plan.default_iou if held_out else None
    write_record(
        job,
        kind="import",
        classes=classes,
        scores=scores(iou, miou_new=mean, miou_all=mean, pixel_accuracy=mean, pictures=held_out),
        origin={
            "source": job["source_name"],
            "sha256": "a" * 64,
            "architecture": "SegformerForSemanticSegmentation",
            "transformers": None,
            "background": job["background"],
        },
        backbone="mit_b0",
        backbone_start=f"imported: {job['source_name']}",
        size=512,
        held_out_pictures=held_out,
    )


def write_record(job: Json, **result: Any) -> None:
    """Write the result, the last thing that a job writes."""
    text = json.dumps({**result, "seconds": 0.1})
    write_whole(Path(job["result"]) / "result.json", text.encode())


def as_run(settings: Json, base: bool) -> Json:
    """What `StepSettings.as_run` gives."""
    unread = DESCENT if settings["method"] == "frozen" and not base else ()
    return {**settings, **dict.fromkeys(unread)}


def iou_of(catalogue: Catalogue, plan: Plan) -> dict[str, float | None]:
    """What the plan says, of every class."""
    iou = {name: plan.iou.get(name, plan.default_iou) for name in catalogue.foreground}
    return {"background": 0.9, **iou}


def scores(iou: dict[str, float | None], **others: float | None) -> Json:
    return {
        "iou": iou,
        "introduced": {name: value for name, value in iou.items() if name != "background"},
        "forgetting": {},
        "mean_forgetting": None,
        "miou_old": None,
        "miou_new": None,
        "pixel_accuracy": 0.9,
        **others,
    }


def listed(version: str) -> list[Json]:
    """The classes that a version's config lists, without the background."""
    config: Json = json.loads((Path(version) / "config.json").read_text())
    return list(config["classes"])


def catalogue_of(classes: Sequence[Json]) -> Catalogue:
    known = (ClassInfo(c["index"], c["name"], tuple(c["colour"]), c["step"]) for c in classes)
    return Catalogue((*Catalogue.empty().classes, *known))


def write_version(job: Json, catalogue: Catalogue, weights: str) -> list[Json]:
    """Write the version's files; return its classes."""
    classes = [vars(one) for one in catalogue.classes]
    version = Path(job["result"]) / "version"
    version.mkdir()
    (version / "config.json").write_text(json.dumps({"classes": classes[1:]}))
    (version / "model.safetensors").write_text(weights)
    return classes


def write_memory(result: Path, dataset: Path, picture: bytes, catalogue: Catalogue) -> Json:
    """Keep a picture that shows every class; return the record of it."""
    write_one(result / "memory.zip", dataset, picture, catalogue.foreground)
    return {"pictures": 1, "classes": dict.fromkeys(catalogue.foreground, 1)}


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


if __name__ == "__main__":
    sys.exit(main(Control(Path(sys.argv[1])), Path(sys.argv[2])))
