"""A training process that is several: what becomes of one of them becomes of the step."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from sats_core.events import DoneEvent, Event, FailedEvent, ProgressEvent
from sats_core.job import StepJob, StepResult
from sats_core.training.loop import StoppedError
from tests.fixtures.drawings import voc_zip
from tests.sats_core.training.conftest import make_job, run
from tests.worker.bench import PATIENCE, eventually, is_gone
from worker.child import STOPPED
from worker.log_tail import LogTail
from worker.process import TrainingProcess

COMMAND = (sys.executable, "-m", "tests.worker.rank_child")
NAMES = ("disc", "bar")
EPOCHS = 3


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on every machine."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voc_zip(tmp_path_factory.mktemp("data") / "d.zip", list(NAMES), pictures=10, size=48)


@pytest.fixture(scope="module")
def whole(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> StepJob:
    """A step that one device finished."""
    job = step(tmp_path_factory.mktemp("whole"), drawn)
    run(job)
    return job


def step(folder: Path, dataset: Path, devices: int = 1, epochs: int = EPOCHS) -> StepJob:
    settings = {"batch_size": 4, "epochs": epochs, "optimizer": "sgd", "learning_rate": 0.01}
    return make_job(folder, dataset, NAMES, settings=settings, devices=devices)


@contextmanager
def child(job: StepJob, log: LogTail | None = None) -> Iterator[TrainingProcess]:
    for folder in (job.work, job.result):
        folder.mkdir(parents=True, exist_ok=True)
    file = job.work.parent / "job.json"
    file.write_text(job.model_dump_json())
    handle = os.open(job.work, os.O_RDONLY)
    with TrainingProcess(COMMAND, file, handle, log) as process:
        os.close(handle)
        yield process


def heard(
    process: TrainingProcess, until: Callable[[Event], bool] = lambda event: False
) -> list[Event]:
    """Listen until an event, or to the end."""
    events: list[Event] = []
    while not process.ended:
        event = process.next_event(PATIENCE)
        if event is not None:
            events.append(event)
            if until(event):
                break
    return events


def ends_an_epoch(event: Event) -> bool:
    return isinstance(event, ProgressEvent) and event.epoch_end


def finished(job: StepJob) -> list[Event]:
    """Run a step by the real training process to its end."""
    with child(job) as process:
        events = heard(process)
        assert process.wait() == 0
    assert isinstance(events[-1], DoneEvent)
    return events


def epochs(events: list[Event]) -> list[int]:
    return [event.epoch for event in filter(ends_an_epoch, events)]


def assert_learned_alike(job: StepJob, other: StepJob) -> None:
    expected = load_file(other.result / "version" / "model.safetensors")
    for name, tensor in load_file(job.result / "version" / "model.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-5, msg=name)


def ranks_of(process: TrainingProcess) -> list[int]:
    """Process ids of the ranks that it started."""
    children = psutil.Process(process.pid).children()
    return [each.pid for each in children if "spawn_main" in " ".join(each.cmdline())]


def test_two_processes_make_the_version_that_one_does(
    whole: StepJob, drawn: Path, tmp_path: Path
) -> None:
    job = step(tmp_path, drawn, devices=2)
    events = finished(job)
    assert epochs(events) == [1, 2, 3]
    assert_learned_alike(job, whole)
    result = StepResult.model_validate_json((job.result / "result.json").read_text())
    assert (result.settings["devices"], result.settings["batch_size"]) == (2, 4)
    assert not list(job.work.glob("ranks-*"))


def test_a_rank_that_is_killed_ends_the_step_as_if_it_were_all_of_it(
    whole: StepJob, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SATS_TEST_FAULT", "killed")
    job, log = step(tmp_path, drawn, devices=2), LogTail()
    with child(job, log) as process:
        assert epochs(heard(process)) == [1]
        assert process.wait() == -signal.SIGKILL
    assert "rank 1 was killed by signal 9 in the middle of the step" in (log.take() or "")
    # One device goes on where the two were.
    alone = job.model_copy(update={"devices": 1})
    _, events = run(alone)
    assert epochs(events) == [2, 3]
    assert_learned_alike(alone, whole)


def test_a_first_rank_that_waits_for_one_that_is_gone_is_ended_too(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SATS_TEST_FAULT", "unheard")
    log = LogTail()
    with child(step(tmp_path, drawn, devices=2), log) as process:
        assert epochs(heard(process)) == [1]
        assert process.wait() == -signal.SIGKILL
    said = log.take() or ""
    assert "it waits for a rank that is gone: rank 1 was killed by signal 9" in said


def test_two_go_on_where_one_was_and_stop_when_they_are_asked(
    whole: StepJob, drawn: Path, tmp_path: Path
) -> None:
    alone = step(tmp_path, drawn)
    with pytest.raises(StoppedError):
        run(alone, (alone.work / "checkpoint.safetensors").exists)
    job = alone.model_copy(update={"devices": 2})
    events = finished(job)
    assert epochs(events) == [2, 3]
    assert_learned_alike(job, whole)
    long = step(tmp_path / "long", drawn, devices=2, epochs=1000)
    with child(long) as process:
        heard(process, ends_an_epoch)
        [rank] = ranks_of(process)
        os.kill(process.pid, signal.SIGTERM)
        heard(process)
        assert process.wait() == STOPPED
    eventually(lambda: is_gone(rank), PATIENCE)


def test_a_rank_does_not_outlive_the_first(drawn: Path, tmp_path: Path) -> None:
    job = step(tmp_path, drawn, devices=2, epochs=1000)
    with child(job) as process:
        heard(process, ends_an_epoch)
        [rank] = ranks_of(process)
        os.kill(process.pid, signal.SIGKILL)
        eventually(lambda: is_gone(rank), PATIENCE)


@pytest.mark.parametrize(
    ("fault", "cause", "said"),
    [("memory", "memory", "9 GiB"), ("diverged", "input", "cross_entropy is nan")],
)
def test_what_ends_a_rank_is_the_steps_failure(
    fault: str, cause: str, said: str, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SATS_TEST_FAULT", fault)
    with child(step(tmp_path, drawn, devices=2)) as process:
        events = heard(process)
        assert process.wait() == 0
    failed = events[-1]
    assert isinstance(failed, FailedEvent)
    assert failed.cause == cause
    assert said in failed.message


def test_a_bug_in_a_rank_is_in_the_log(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SATS_TEST_FAULT", "bug")
    log = LogTail()
    with child(step(tmp_path, drawn, devices=2), log) as process:
        events = heard(process)
        assert process.wait() == 1
    assert not any(isinstance(event, FailedEvent | DoneEvent) for event in events)
    said = log.take() or ""
    assert "nobody knows why" in said
    assert "rank 1 ended with status 1 in the middle of the step" in said
