"""Accepting a task: whatever goes wrong, no file is kept."""

import io
from contextlib import contextmanager
from dataclasses import replace

import pytest

from app.errors import TooLargeProblem
from app.storage import Blob, SentInVainError
from app.tasks.accepting import Acceptance
from app.tasks.schemas import TaskSpec
from app.tasks.submission import Submission


class BrokenStream(io.BytesIO):
    """A file whose disk fails."""

    def read(self, *_args, **_kwargs):
        raise OSError("input/output error")


@pytest.fixture
def accepting(engine, blobs):
    return Acceptance(engine, blobs, most=100)


def stored(blobs):
    return [p for p in blobs.root.rglob("*") if p.is_file()]


def make(files):
    return Submission(TaskSpec(name="pets"), files["dataset"], "eva", "key", files.get("evaluate"))


def accept(accepting, files, make=make, check=lambda *_: None):
    return accepting.accept({name: io.BytesIO(data) for name, data in files.items()}, make, check)


@pytest.mark.parametrize(
    ("second", "error"),
    [(BrokenStream, OSError), (lambda: io.BytesIO(b"x" * 101), TooLargeProblem)],
)
def test_a_second_file_that_cannot_be_stored_takes_the_first_along(accepting, blobs, second, error):
    files = {"dataset": io.BytesIO(b"first"), "evaluate": second()}
    with pytest.raises(error):
        accepting.accept(files, make, lambda *_: None)
    assert stored(blobs) == []


def test_a_failure_to_queue_leaves_no_file(accepting, blobs, monkeypatch):
    def broken(*_args):
        raise RuntimeError("the database is gone")

    monkeypatch.setattr("app.tasks.accepting.submit", broken)
    with pytest.raises(RuntimeError):
        accept(accepting, {"dataset": b"pictures"})
    assert stored(blobs) == []


def test_what_a_task_needs_stays(accepting, blobs):
    files = {"dataset": b"pictures"}
    first, replayed = accept(accepting, files)
    assert (replayed, len(stored(blobs))) == (False, 1)
    assert accept(accepting, files) == (first, True)

    def refuse(*_args):
        raise RuntimeError("no")

    def other(found: dict[str, Blob]) -> Submission:
        return Submission(TaskSpec(name="other"), found["dataset"], "eva", None)

    with pytest.raises(RuntimeError):
        accept(accepting, files, other, refuse)
    assert len(stored(blobs)) == 1


def test_what_was_deleted_after_it_was_sent_is_sent_again(accepting, blobs, monkeypatch):
    steps, stage = [], blobs.stage

    def confirm():
        steps.append("confirm")
        if steps.count("confirm") == 1:
            raise SentInVainError(11, "a task with the same bytes ended")

    @contextmanager
    def watched(*args):
        with stage(*args) as one:
            yield replace(one, send=lambda: steps.append("send"), confirm=confirm)

    monkeypatch.setattr(blobs, "stage", watched)
    accept(accepting, {"dataset": b"pictures"})
    assert steps == ["send", "confirm", "send", "confirm"]
