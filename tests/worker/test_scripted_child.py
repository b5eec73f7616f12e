"""The scripted child holds to what the real one reads, says and writes; and it starts at once."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from sats_core.events import Event, LabelsEvent, parse_event
from sats_core.job import (
    CHECKPOINT,
    Depth,
    HeldOutChoice,
    ImportJob,
    ImportResult,
    Job,
    RetireJob,
    RetireResult,
    StepJob,
    StepResult,
    parse_result,
)
from sats_core.settings import Limits, StepSettings
from tests.worker import scripted_child
from tests.worker.bench import drawn
from tests.worker.scripted_child import Control

HEAVY = {"pydantic", "numpy", "torch", "sats_core.record", "sats_core.job", "app"}


def run(control: Control, job: Job, flags: Sequence[str] = (), status: int = 0) -> list[Event]:
    """Start the child as a worker would; return what it said."""
    for folder in (job.work, job.result):
        folder.mkdir(parents=True)
    file, log = job.work / "job.json", job.work / "log"
    file.write_text(job.model_dump_json())
    python, *command = control.command()
    ours, its = os.pipe()  # its stdin ends with us
    with log.open("wb") as err, os.fdopen(ours, "rb") as stdin, os.fdopen(its, "wb"):
        done = subprocess.run(
            [python, *flags, *command, file],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=err,
            check=False,
        )
    assert done.returncode == status, log.read_text()
    return [parse_event(line) for line in done.stdout.splitlines()]


def step(folder: Path, *classes: str, old: StepJob | None = None, method: str = "lwf") -> StepJob:
    pictures = folder / "posted.zip"
    pictures.write_bytes(drawn(classes, 0))
    work = folder / "-".join(classes)
    return StepJob(
        dataset=pictures,
        old_version=old and old.result / "version",
        new_classes=classes,
        indices=tuple(range(1, 1 + len(classes))) if old is None else (9,),
        settings=StepSettings(method=method, memory=4),
        held_out=HeldOutChoice(),
        earlier=(),
        limits=Limits(),
        backbone_dir=None,
        threads=1,
        work=work / "checkpoints",
        result=work / "result",
    )


@pytest.fixture
def learned(control: Control, tmp_path: Path) -> StepJob:
    """A base step that is done."""
    control.plan()
    job = step(tmp_path, "cat", "dog")
    run(control, job)
    return job


@pytest.mark.parametrize("method", ["frozen", "lwf"])
def test_a_step_ends_as_a_real_one_would(
    control: Control, learned: StepJob, tmp_path: Path, method: str
) -> None:
    control.plan(warning="look", suspect="look again")
    job = step(tmp_path, "cow", old=learned, method=method)
    said = run(control, job)
    assert {one.event for one in said} == {"phase", "progress", "warning", "labels", "done"}
    result = parse_result((job.result / "result.json").read_bytes())
    assert isinstance(result, StepResult)
    assert result.settings == job.settings.as_run(base=False)
    assert [one["name"] for one in result.classes] == ["background", "cat", "dog", "cow"]
    assert [one["index"] for one in result.classes] == [0, 1, 2, 9]
    assert [one.report for one in said if isinstance(one, LabelsEvent)] == [result.labels]
    assert (job.work / CHECKPOINT).read_text() == "2"
    assert [start.job for start in control.starts()] == [learned, job]


def test_a_base_step_trains_by_descent_whatever_the_method(
    control: Control, tmp_path: Path
) -> None:
    control.plan()
    job = step(tmp_path, "cat", method="frozen")
    run(control, job)
    result = parse_result((job.result / "result.json").read_bytes())
    assert isinstance(result, StepResult)
    assert result.settings == job.settings.as_run(base=True)


def test_a_retirement_ends_as_a_real_one_would(
    control: Control, learned: StepJob, tmp_path: Path
) -> None:
    job = RetireJob(
        old_version=learned.result / "version",
        classes=("dog",),
        depth=Depth.UNLEARN,
        settings=StepSettings(),
        earlier=(),
        memory=learned.result / "memory.zip",
        limits=Limits(),
        threads=1,
        work=tmp_path / "retire" / "checkpoints",
        result=tmp_path / "retire" / "result",
    )
    assert run(control, job)[-1].event == "done"
    result = parse_result((job.result / "result.json").read_bytes())
    assert isinstance(result, RetireResult)
    assert result.settings == job.settings.as_run(base=False)
    assert [one["name"] for one in result.classes] == ["background", "cat"]
    assert (result.retired, result.depth) == (("dog",), Depth.UNLEARN)


def test_an_import_ends_as_a_real_one_would(
    control: Control, learned: StepJob, tmp_path: Path
) -> None:
    job = ImportJob(
        source=tmp_path,
        source_name="pets",
        classes=("cat", "dog"),
        indices=(1, 2),
        evaluate=learned.dataset,
        limits=Limits(),
        threads=1,
        work=tmp_path / "import" / "checkpoints",
        result=tmp_path / "import" / "result",
    )
    assert run(control, job)[-1].event == "done"
    result = parse_result((job.result / "result.json").read_bytes())
    assert isinstance(result, ImportResult)
    assert (result.origin.source, result.held_out_pictures) == ("pets", 1)


@pytest.mark.parametrize(
    "plan",
    [{"fail": "no", "fail_cause": "disk"}, {"needs_halvings": 1}, {"affords_to_evaluate": False}],
    ids=str,
)
def test_a_failure_is_said_as_the_real_child_says_it(
    control: Control, tmp_path: Path, plan: dict[str, object]
) -> None:
    control.plan(**plan)
    assert run(control, step(tmp_path, "cat"))[-1].event == "failed"


def test_a_job_that_the_real_child_would_not_read_is_noticed(
    control: Control, tmp_path: Path
) -> None:
    control.plan()
    run(control, step(tmp_path, "cat").model_copy(update={"halvings": -1}))
    with pytest.raises(ValidationError, match="halvings"):
        control.starts()
    control.rows_file.unlink()


def test_it_keeps_its_checkpoint_where_workers_look_for_it() -> None:
    assert scripted_child.CHECKPOINT == CHECKPOINT


def test_it_imports_nothing_that_takes_long(control: Control, tmp_path: Path) -> None:
    """To its end: what a result needs is looked at too."""
    control.plan()
    job = step(tmp_path, "cat")
    assert run(control, job, ["-X", "importtime"])[-1].event == "done"
    lines = (job.work / "log").read_text().splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "sats_core.classes" in imported
    assert imported & HEAVY == set()
