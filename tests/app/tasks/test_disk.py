"""A step that would not fit is refused before it is begun, with what it needs and what there is."""

import json
import os
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.db import TaskState
from app.errors import DiskFullProblem
from app.imports.schemas import ImportSpec
from app.main import create_app
from app.tasks.disk import check_fits, needed, own_bytes
from app.tasks.schemas import TaskSpec
from sats_core.data.cache import PictureCache
from sats_core.data.readers import open_reader
from sats_core.data.sources import ZipSource
from sats_core.settings import Limits
from tests.fixtures.checkpoints import checkpoint_zip
from tests.fixtures.drawings import voc_zip
from tests.worker.bench import Bench, drawn

MIB = 1024 * 1024
LIMITS = Limits()


@pytest.fixture
def bench(settings, engine, blobs, control):
    control.plan(epochs=1)
    return Bench(settings, engine, blobs, control)


@pytest.fixture
def full(settings):
    """Settings by which nothing more may be written."""
    free = shutil.disk_usage("/").total
    return settings.model_copy(update={"keep_free_bytes": 2 * free})


def spec(**wanted):
    return TaskSpec.model_validate({"name": "step", **wanted})


def test_a_task_that_would_not_fit_is_refused(full, blobs):
    with TestClient(create_app(full), "http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        for path, field, data in (
            ("/tasks", "dataset", drawn(("cat",), 0)),
            ("/admin/models/b/versions", "checkpoint", checkpoint_zip(["wall"])),
        ):
            answer = client.post(
                path,
                files={field: ("a.zip", data)},
                data={"spec": json.dumps({"name": "step"} if field == "dataset" else {})},
            )
            assert answer.status_code == 507, answer.text
            assert answer.json()["type"] == "urn:sats:problem:disk-full"
            assert "the task needs about" in answer.json()["detail"]
            assert "there are 0 MiB" in answer.json()["detail"]
        assert client.get("/tasks").json()["items"] == []
    assert list(blobs.entries()) == []
    assert list(blobs.unfinished()) == []


def test_a_task_that_does_not_fit_any_more_fails_before_it_begins(bench, full):
    task_id = bench.post(["cat"])
    supervisor = bench.supervisor(keep_free_bytes=full.keep_free_bytes)
    assert supervisor.run(task_id) == TaskState.FAILED
    task = bench.task(task_id)
    assert (task.error["type"], task.error["status"]) == ("urn:sats:problem:disk-full", 507)
    assert "the task needs about" in task.error["detail"]
    assert bench.control.starts() == []
    bench.retry(task_id)
    assert bench.supervisor().run(task_id) == TaskState.LIVE


def test_a_result_that_is_there_is_registered_however_little_room_is_left(bench, full, monkeypatch):
    task_id = bench.post(["cat"])
    with monkeypatch.context() as patch:
        patch.setattr("worker.registering.end", lambda *_args, **_kw: 1 / 0)
        assert bench.supervisor().run(task_id) == TaskState.QUEUED
    supervisor = bench.supervisor(keep_free_bytes=full.keep_free_bytes)
    assert supervisor.run(task_id) == TaskState.LIVE


def test_links_are_not_what_a_task_has_written(tmp_path):
    theirs, folder = tmp_path / "theirs", tmp_path / "work"
    folder.mkdir()
    theirs.write_bytes(b"x" * 100)
    os.link(theirs, folder / "linked")
    (folder / "own").write_bytes(b"x" * 10)
    assert own_bytes(folder) == 10


def test_what_is_there_beyond_the_need_frees_nothing(full):
    with pytest.raises(DiskFullProblem, match="needs about 0 MiB"):
        check_fits(full, 10, bytes_there=10**15)


def test_pictures_that_score_an_import_count(tmp_path):
    source, pictures = tmp_path / "a.zip", tmp_path / "b.zip"
    source.write_bytes(checkpoint_zip(["wall"]))
    pictures.write_bytes(drawn(("wall",), 0))
    wanted = ImportSpec.model_validate({"source": "a.zip"})
    less = needed(wanted, source, None, LIMITS)
    assert needed(wanted, source, None, LIMITS, pictures) - less == 2 * pictures.stat().st_size


def test_an_import_that_does_not_fit_fails_too(bench, full):
    task_id = bench.post_import(["wall"])
    supervisor = bench.supervisor(keep_free_bytes=full.keep_free_bytes)
    assert supervisor.run(task_id) == TaskState.FAILED
    assert bench.task(task_id).error["type"] == "urn:sats:problem:disk-full"


@pytest.mark.parametrize("size", [32, 64, 512])
def test_the_cache_is_counted_as_it_is_written(tmp_path, size):
    path = voc_zip(tmp_path / "a.zip", ["cat"], pictures=7, size=96)
    with ZipSource(path, LIMITS) as source, PictureCache(tmp_path / "cache", size) as cache:
        reader = open_reader(source)
        for picture_id in reader.ids:
            read = reader.read(picture_id)
            cache.add(read.picture, read.label)
        assert len(cache) == 7
    written = (tmp_path / "cache").stat().st_size
    wanted = {"held_out": {"keep": False}}
    without = needed(spec(size=size, **wanted), _empty(path, tmp_path), None, LIMITS)
    assert needed(spec(size=size, **wanted), path, None, LIMITS) - without == written


def _empty(path, tmp_path):
    """The same zip without its pictures."""
    return voc_zip(tmp_path / "none.zip", ["cat"], pictures=0, size=96)


def test_what_is_kept_and_larger_backbones_take_more(tmp_path):
    path = voc_zip(tmp_path / "a.zip", ["cat"], pictures=4, size=64)
    least = needed(spec(held_out={"keep": False}), path, None, LIMITS)
    assert needed(spec(), path, None, LIMITS) > least
    assert needed(spec(memory=4, held_out={"keep": False}), path, None, LIMITS) > least
    larger = needed(spec(backbone="mit_b5", held_out={"keep": False}), path, None, LIMITS)
    assert larger - least > 2000 * MIB


def test_a_step_copies_the_version_that_it_starts_from(bench, tmp_path):
    bench.run(["cat"])
    (version,) = bench.versions()
    path = voc_zip(tmp_path / "a.zip", ["dog"], pictures=4, size=64)
    files = sum(file["bytes"] for file in version.files.values())
    one = needed(spec(), path, version, LIMITS)
    for file in version.files.values():
        file["bytes"] *= 2
    assert needed(spec(), path, version, LIMITS) - one == 4 * files


def test_an_upload_that_the_disk_has_no_room_for_is_refused(client, blobs, monkeypatch, tmp_path):
    def on_a_full_disk(dir):
        return os.open("/dev/full", os.O_WRONLY), str(tmp_path / "nothing")

    monkeypatch.setattr("app.storage.local.tempfile.mkstemp", on_a_full_disk)
    answer = client.post(
        "/tasks",
        files={"dataset": ("a.zip", drawn(("cat",), 0))},
        data={"spec": json.dumps({"name": "step"})},
    )
    assert answer.status_code == 507, answer.text
    assert answer.json()["detail"] == "`dataset` could not be stored: No space left on device"


def test_a_form_that_the_disk_has_no_room_for_is_refused(client, monkeypatch):
    """It is taken in before anybody knows what it is."""

    def on_a_full_disk(**_: object):
        return Path("/dev/full").open("r+b", buffering=0)

    monkeypatch.setattr("tempfile.TemporaryFile", on_a_full_disk)
    answer = client.post(
        "/tasks",
        files={"dataset": ("a.zip", bytes(3 * 1024**2))},
        data={"spec": json.dumps({"name": "step"})},
    )
    assert answer.status_code == 507, answer.text
    assert answer.json()["detail"] == "`dataset` could not be stored: No space left on device"
