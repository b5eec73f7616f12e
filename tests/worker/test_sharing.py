"""Checkpoints on their way from one host to another."""

import io
from pathlib import Path

import pytest
import structlog
from sqlalchemy import event, update

from app.db import Place, Task, TaskState, read_session, write_session
from app.storage import BlobStoreDownError, TooLargeError
from app.storage.references import referenced
from sats_core.job import CHECKPOINT
from tests.worker.bench import eventually, running
from worker.claim import Claim, LeaseLostError, claim
from worker.folder import WorkFolder
from worker.sharing import SharedCheckpoint, take_up
from worker.tidying import tidy


@pytest.fixture
def here(tmp_path):
    return WorkFolder(tmp_path / "here", "task")


@pytest.fixture
def there(tmp_path):
    """The same task's folder on another host."""
    return WorkFolder(tmp_path / "there", "task")


@pytest.fixture
def claimed(bench) -> Claim:
    task_id = bench.post(["cat"])
    with write_session(bench.engine) as session:
        return claim(session, task_id, "a", 60.0)


@pytest.fixture
def shares(bench, claimed):
    def make(folder, by=claimed, every=3600.0):
        return SharedCheckpoint(bench.engine, bench.blobs, by, folder, every, lambda: False)

    return make


def write(folder, content):
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    new = folder.checkpoint.with_suffix(".new")
    new.write_bytes(content)
    new.replace(folder.checkpoint)


def shared(bench, claimed):
    key = bench.task(claimed.task_id).checkpoint
    return key and bench.blobs.path(key).read_bytes()


def take(bench, claimed, folder):
    take_up(bench.engine, bench.blobs, claimed.task_id, folder)
    return folder.checkpoint.read_bytes() if folder.checkpoint.exists() else None


def test_the_last_one_is_in_the_store_and_the_one_before_is_not(bench, claimed, shares, here):
    sharing = shares(here)
    sharing.share()
    assert shared(bench, claimed) is None
    write(here, b"one")
    sharing.share()
    first = bench.task(claimed.task_id).checkpoint
    assert shared(bench, claimed) == b"one"
    with read_session(bench.engine) as session:
        assert first in referenced(session, Place.BLOB_STORE)
    write(here, b"two")
    sharing.share()
    assert shared(bench, claimed) == b"two"
    assert not bench.has_blob(first)


def test_one_before_is_deleted_without_reading_versions(bench, claimed, shares, here):
    sharing, asked = shares(here), []
    write(here, b"one")
    sharing.share()
    write(here, b"two")
    event.listen(bench.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    sharing.share()
    assert [text for text in asked if "checkpoint" in text]
    assert not [text for text in asked if "versions" in text]


def test_one_before_that_a_task_was_posted_with_stays(bench, claimed, shares, here):
    sharing = shares(here)
    write(here, b"one")
    sharing.share()
    first = bench.task(claimed.task_id).checkpoint
    other = bench.post(["dog"])
    with write_session(bench.engine) as session:
        session.execute(update(Task).where(Task.id == other).values(dataset=first))
    write(here, b"two")
    sharing.share()
    assert bench.has_blob(first)


def test_what_did_not_change_is_not_sent_again(bench, claimed, shares, here):
    sharing = shares(here)
    write(here, b"one")
    sharing.share()
    bench.blobs.delete(bench.task(claimed.task_id).checkpoint)
    sharing.share()
    assert not bench.has_blob(bench.task(claimed.task_id).checkpoint)


def test_another_host_goes_on_from_it(bench, claimed, shares, here, there):
    write(here, b"one")
    shares(here).share()
    assert take(bench, claimed, there) == b"one"
    write(there, b"one and more")
    assert take(bench, claimed, there) == b"one and more", "it came from there"
    shares(there).share()
    write(here, b"one and less")
    assert take(bench, claimed, here) == b"one and more", "the task was elsewhere since"


def test_the_host_itself_goes_on_from_its_own(bench, claimed, shares, here):
    write(here, b"one")
    shares(here).share()
    write(here, b"two, not sent")
    assert take(bench, claimed, here) == b"two, not sent"


def test_a_folder_that_lost_its_own_takes_the_store_s(bench, claimed, shares, here):
    write(here, b"one")
    shares(here).share()
    here.checkpoint.unlink()
    assert take(bench, claimed, here) == b"one"


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_one_that_cannot_be_had_is_done_without(bench, claimed, shares, here, there, how):
    write(here, b"one")
    shares(here).share()
    path = bench.blobs.path(bench.task(claimed.task_id).checkpoint)
    path.unlink() if how == "gone" else path.write_bytes(b"broken")
    assert take(bench, claimed, there) is None
    write(there, b"own")
    assert take(bench, claimed, there) == b"own"


def test_nothing_is_shared_of_a_task_that_is_somebody_else_s(bench, claimed, shares, here):
    write(here, b"one")
    late = shares(here, Claim(claimed.task_id, claimed.fence - 1))
    with pytest.raises(LeaseLostError):
        late.share()
    with late:
        pass
    assert shared(bench, claimed) is None
    assert not here.shared.exists()


def test_it_is_sent_now_and_then_while_the_step_trains(bench, claimed, shares, here):
    with shares(here, every=0.05):
        write(here, b"one")
        eventually(lambda: shared(bench, claimed) == b"one")
        write(here, b"two")
        eventually(lambda: shared(bench, claimed) == b"two")
    write(here, b"three")
    assert shared(bench, claimed) == b"two"


def test_what_an_earlier_try_left_is_sent_at_once(bench, claimed, shares, here):
    write(here, b"one")
    with shares(here, every=3600.0):
        eventually(lambda: shared(bench, claimed) == b"one")


def test_it_is_sent_at_the_end_of_a_training_that_was_interrupted(bench, claimed, shares, here):
    def train():
        eventually(lambda: shared(bench, claimed) == b"one")
        write(here, b"two")
        raise ZeroDivisionError

    write(here, b"one")
    with pytest.raises(ZeroDivisionError), shares(here):
        train()
    assert shared(bench, claimed) == b"two"


@pytest.mark.parametrize(
    "error",
    [BlobStoreDownError(5, "down"), TooLargeError("more than 5 bytes")],
    ids=["down", "large"],
)
def test_a_store_that_takes_nothing_does_not_stop_the_training(
    bench, claimed, shares, here, monkeypatch, error
):
    tried = []

    def down(*_args):
        tried.append(1)
        raise error

    with shares(here, every=0.05):
        with monkeypatch.context() as broken:
            broken.setattr(bench.blobs, "stage", down)
            write(here, b"one")
            eventually(lambda: len(tried) >= 2)
        eventually(lambda: shared(bench, claimed) == b"one")


def test_why_a_training_ended_is_told_though_its_checkpoint_is_too_large(
    bench, claimed, shares, here, monkeypatch
):
    def refuse(*_args):
        raise TooLargeError("more than 5 bytes")

    write(here, b"one")
    monkeypatch.setattr(bench.blobs, "stage", refuse)
    with pytest.raises(ZeroDivisionError), shares(here):
        raise ZeroDivisionError


def test_one_before_that_cannot_be_deleted_is_told_apart(bench, claimed, shares, here, monkeypatch):
    def down(*_args):
        raise BlobStoreDownError(5, "down")

    sharing = shares(here)
    write(here, b"one")
    sharing.share()
    write(here, b"two")
    monkeypatch.setattr(bench.blobs, "delete", down)
    with structlog.testing.capture_logs() as said:
        sharing.share()
    assert [line["event"] for line in said] == ["checkpoint_not_dropped"]
    assert shared(bench, claimed) == b"two"


@pytest.mark.parametrize("state", [TaskState.LIVE, TaskState.CANCELLED])
def test_it_goes_when_the_task_has_ended(bench, claimed, shares, here, state):
    write(here, b"one")
    shares(here).share()
    key = bench.task(claimed.task_id).checkpoint
    with write_session(bench.engine) as session:
        session.execute(update(Task).where(Task.id == claimed.task_id).values(state=state))
    tidy(bench.engine, bench.blobs, bench.settings, claimed.task_id)
    assert not bench.has_blob(key)


def test_it_stays_as_long_as_a_failed_task_may_be_tried_again(bench, claimed, shares, here):
    write(here, b"one")
    shares(here).share()
    key = bench.task(claimed.task_id).checkpoint
    with write_session(bench.engine) as session:
        failed = update(Task).where(Task.id == claimed.task_id).values(state=TaskState.FAILED)
        session.execute(failed)
    bench.blobs.put(io.BytesIO(b"another"))
    with read_session(bench.engine) as session:
        assert key in referenced(session, Place.BLOB_STORE)


@pytest.mark.parametrize("how", ["lost", "cancelled", "stopped"])
def test_nothing_is_sent_once_nobody_will_go_on_from_it(bench, monkeypatch, how):
    """Of a task that is only stopped it is: another worker goes on from there."""
    bench.control.plan(epochs=1_000, epoch_seconds=2.0)  # the heartbeat hears first
    task_id = bench.post(["cat"])
    sent = []
    stage = bench.blobs.stage

    def seen(stream, limit=None):
        sent.append(stream.name)
        return stage(stream, limit)

    monkeypatch.setattr(bench.blobs, "stage", seen)
    # With a URL checkpoints go to the store, wherever that is.
    supervisor = bench.supervisor(store_url="s3://pets", checkpoint_seconds=3600.0)
    with running(supervisor, task_id) as left:
        eventually(lambda: bool(bench.events(task_id, "epoch")))
        if how == "lost":
            with write_session(bench.engine) as session:
                session.get_one(Task, task_id).fence += 1
        elif how == "cancelled":
            bench.cancel(task_id)
        else:
            supervisor.stopping.set()
        eventually(lambda: bool(left))
    checkpoints = [name for name in sent if Path(name).name == Path(CHECKPOINT).name]
    assert (checkpoints != []) == (how == "stopped")
