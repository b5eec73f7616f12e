"""Tasks posted to a real service, and learned by a real worker."""

import threading
import zipfile
from pathlib import Path

import pytest

from app.settings import Settings
from sats_client import (
    AsyncTask,
    Client,
    Conflict,
    Event,
    NotFound,
    Refused,
    TaskCancelled,
    TaskFailed,
    TimedOut,
)
from tests.fixtures.checkpoints import checkpoint_zip
from tests.fixtures.drawings import voc_zip

pytestmark = pytest.mark.slow

SMALL = {
    "size": 32,
    "epochs": 2,
    "batch_size": 2,
    "pretrained": False,
    "gate": {"max_drop": 1, "min_iou": 0},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Labelled pictures of two classes, as a folder."""
    return unpacked(tmp_path / "shapes", ["circle", "square"], 1)


def unpacked(folder: Path, classes: list[str], seed: int) -> Path:
    folder.mkdir()
    path = voc_zip(folder.with_suffix(".zip"), classes, pictures=8, size=48, seed=seed)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    path.unlink()
    return folder


def test_from_a_folder_to_two_versions(bench, client: Client, folder: Path, tmp_path: Path) -> None:
    """What a version that was learned makes of pictures: tests/clients/test_docs.py."""
    sent: list[tuple[int, int]] = []
    bench.control.plan(stderr="epoch 1 of 2\n")
    with bench.worker():
        task = client.submit(folder, progress=lambda *at: sent.append(at), **SMALL)
        assert (task.name, task.model, task.state) == ("shapes", "default", "queued")
        assert sent[-1][0] == sent[-1][1] > 0
        events: list[Event] = []
        done = task.wait(progress=events.append, timeout=300)
        assert (done.id, done.state, done.outcome, done.version) == (
            task.id,
            "succeeded",
            "live",
            1,
        )
        second = unpacked(tmp_path / "more", ["star"], 2)
        held = client.submit(second, name="star", gate={"promote": False}, size=32).wait(
            timeout=300
        )
    assert (held.held, held.version) == (True, 2)
    phases = dict.fromkeys(one.data["phase"] for one in events if one.type == "task.state")
    assert list(filter(None, phases)) == ["validating", "training", "evaluating"]
    assert len([one for one in events if one.type == "task.epoch"]) == 2
    assert len({one.id for one in events}) == len(events), "none is told twice"
    assert "epoch" in done.log()
    client.promote("default", 2)
    assert client.rollback("default").version == 1
    files = client.export("default", 2, tmp_path / "out").files
    assert {"model.safetensors", "config.json"} <= {file.name for file in files}
    assert [one.id for one in client.tasks(outcome="held")] == [held.id]
    assert [one.id for one in client.tasks(state="succeeded")] == [held.id, task.id]
    assert list(client.tasks(state=["failed", "cancelled"])) == []


def test_waiting_on_an_event_loop(bench, also_async, folder: Path) -> None:
    events: list[Event] = []
    with bench.worker():
        done = also_async(
            lambda client: client.submit(folder, name="shapes"),
            lambda task: task.wait(progress=events.append, timeout=300),
        )
    assert isinstance(done, AsyncTask)
    assert done.version == 1
    assert {"task.state", "task.epoch"} <= {one.type for one in events}


def test_cancelled_while_somebody_waits(bench, client: Client, folder: Path) -> None:
    task = client.submit(folder)
    timer = threading.Timer(0.2, task.cancel)
    timer.start()
    with pytest.raises(TaskCancelled):
        task.wait(timeout=120)
    timer.join()
    with pytest.raises(Conflict):
        task.cancel()


def test_a_failure_names_the_picture_and_is_tried_again(
    bench, client: Client, folder: Path
) -> None:
    bench.control.plan(fail="cannot be read")
    with bench.worker():
        with pytest.raises(TaskFailed, match="cannot be read") as failed:
            client.submit(folder).wait(timeout=300)
        task = failed.value.task
        assert task.error.errors[0].file == "JPEGImages/a.jpg"
        with pytest.raises(TaskFailed):
            task.retry().wait(timeout=300)


def test_a_wait_ends_and_the_task_goes_on(client: Client, folder: Path) -> None:
    task = client.submit(folder)
    with pytest.raises(TimedOut):
        task.wait(timeout=0.5)
    assert task.refresh().state == "queued"
    with pytest.raises(NotFound):
        client.task("7f1c2a52-0000-4000-8000-000000000000")


def test_a_refused_zip_names_the_file(client: Client, folder: Path, tmp_path: Path) -> None:
    (folder / "classes.txt").write_text("0 background\n1 circle\n1 square\n")
    with pytest.raises(Refused, match=r"classes\.txt") as refused:
        client.submit(folder)
    assert refused.value.slug == "invalid-dataset"
    assert [error.file for error in refused.value.errors] == ["classes.txt"]
    wrong = tmp_path / "a.zip"
    wrong.write_bytes(b"no zip")
    with pytest.raises(Refused, match="zip"):
        client.submit(wrong)
    with pytest.raises(Refused) as unknown:
        client.submit(folder, colour="red")
    assert [error.field for error in unknown.value.errors] == ["spec.colour"]


def test_a_data_set_that_is_too_large_is_refused_and_not_sent_again(
    client: Client, settings: Settings, tmp_path: Path
) -> None:
    large = tmp_path / "large.zip"
    with large.open("wb") as file:
        file.truncate(4 * settings.max_upload_bytes)
    sent: list[int] = []
    with pytest.raises(Refused) as refused:
        client.submit(large, progress=lambda now, _all: sent.append(now))
    assert (refused.value.status, refused.value.slug) == (413, "too-large")
    assert sent == sorted(sent), "once"


def test_the_same_key_makes_one_task(client: Client, folder: Path) -> None:
    first, second = [client.submit(folder, idempotency_key="mine") for _ in range(2)]
    assert first.id == second.id
    assert client.submit(folder).id != first.id


def test_an_import(bench, client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "segformer"
    folder.mkdir()
    whole = tmp_path / "whole.zip"
    whole.write_bytes(checkpoint_zip(["cat", "dog"]))
    with zipfile.ZipFile(whole) as archive:
        archive.extractall(folder)
    (folder / "optimizer.pt").write_bytes(b"of no use")
    task = client.import_model(folder, model="pets", background="none", name="pets")
    assert (task.kind, task.model, task.name) == ("import", "pets", "pets")
    with bench.worker():
        assert task.wait(timeout=120).version == 1
