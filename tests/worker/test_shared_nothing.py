"""Hosts that share a database, a broker and an object store, and no folder."""

import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import obstore
import pytest
from sqlalchemy import Engine

from app.db import TaskState
from app.main import create_app
from app.settings import Settings
from app.storage import open_store
from tests.app.tasks.posting import drawn, post
from tests.fixtures.faulty_s3 import drops, faulty
from tests.fixtures.processes import serving
from tests.fixtures.s3 import S3Server
from tests.worker.bench import Bench, eventually, is_gone, running
from tests.worker.scripted_child import Control

WORKER = "worker.celery_app"
served = pytest.mark.parametrize("database_url", ["served"], indirect=True)


class Hosts:
    """Machines, each with a data folder of its own."""

    def __init__(
        self, settings: Settings, engine: Engine, s3: S3Server, folder: Path, control: Control
    ) -> None:
        self._settings, self._engine, self._folder = settings, engine, folder
        self.prefix = uuid4().hex
        self._store = s3.settings(self.prefix)
        self.control = control

    def settings(self, name: str, **changes: Any) -> Settings:
        own: dict[str, Any] = {"data_dir": self._folder / name, "key_secret": "the same everywhere"}
        own |= {"lease_seconds": 6.0, "store_seconds": 5.0}
        given = self._settings.model_dump(exclude_unset=True)
        return Settings(**given | self._store | own | {"checkpoint_seconds": 0.1} | changes)

    def bench(self, name: str, **changes: Any) -> Bench:
        settings = self.settings(name, **changes)
        return Bench(settings, self._engine, open_store(settings, None), self.control)


@pytest.fixture
def hosts(
    settings: Settings, engine: Engine, s3: S3Server, tmp_path: Path, control: Control
) -> Hosts:
    return Hosts(settings, engine, s3, tmp_path, control)


@served
def test_what_one_worker_began_another_finishes_though_its_host_is_gone(
    hosts: Hosts, tmp_path: Path
) -> None:
    a, b = hosts.bench("a"), hosts.bench("b")
    hosts.control.plan(epochs=1_000_000, epoch_seconds=0.05)
    with (
        serving(create_app(hosts.settings("api"))) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        assert client.get("/health/ready").json()["status"] == "ok"
        answer = post(client, drawn(tmp_path, "cat"))
        assert answer.status_code == 202
        task_id = answer.json()["id"]
        with a.worker() as worker:
            eventually(lambda: a.task(task_id).checkpoint is not None)
            worker.kill()
        eventually(lambda: is_gone(a.child_pid(1)))
        shutil.rmtree(tmp_path / "a")
        kept = a.task(task_id).checkpoint
        reached = int(b.blobs.path(kept).read_text())
        hosts.control.plan(epochs=reached + 1)
        with b.worker():
            b.ends(task_id, TaskState.LIVE)
            first, second = hosts.control.starts()
            assert first.epoch == 0
            assert second.epoch == reached > 0
            eventually(lambda: kept not in {entry.name for entry in b.blobs.entries()})
        path = "/admin/models/default/versions/1/files/model.safetensors"
        assert client.get(path).text == "weights of ('cat',)"
    assert not (tmp_path / "a").exists()
    assert list(b.blobs.unfinished()) == []


@served
def test_a_real_step_goes_on_from_its_checkpoint_on_another_host(
    hosts: Hosts, tmp_path: Path
) -> None:
    a, b = hosts.bench("a"), hosts.bench("b")
    small = {"size": 32, "batch_size": 2, "pretrained": False, "gate": {"min_iou": 0}}
    task_id = a.post(["cat"], epochs=25, **small)
    with a.worker(WORKER) as worker:
        eventually(lambda: a.task(task_id).checkpoint is not None)
        worker.kill()
    begun = len(a.events(task_id))
    with b.worker(WORKER):
        b.ends(task_id, TaskState.LIVE)
    later = [event.data["epoch"] for event in b.events(task_id)[begun:] if event.kind == "epoch"]
    assert later[0] > 1
    assert later == list(range(later[0], 26))
    assert (tmp_path / "b" / "work").is_dir()


@served
def test_a_bucket_that_is_down_is_waited_for_at_no_cost(
    hosts: Hosts, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.store_probe.PAUSE_SECONDS", 0.1)
    a = hosts.bench("a")
    task_id = a.post(["cat"])
    hosts.control.plan()
    with faulty(s3.endpoint) as line:
        broken = hosts.bench("b", store_endpoint=line.endpoint, store_seconds=1.0)
        line.inject(drops)
        with running(broken.supervisor(max_tries=1), task_id) as left:
            eventually(lambda: bool(a.events(task_id, "warning")))
            assert left == []
            line.clear()
            eventually(lambda: bool(left))
        assert (left, a.task(task_id).tries) == ([TaskState.QUEUED], 0)
        assert broken.supervisor().run(task_id) == TaskState.LIVE


@served
def test_a_posted_zip_that_the_bucket_has_damaged_fails_its_task(
    hosts: Hosts, s3: S3Server
) -> None:
    a, b = hosts.bench("a"), hosts.bench("b")
    task_id = a.post(["cat"])
    key = a.task(task_id).dataset
    obstore.put(s3.client(hosts.prefix), f"{key[:2]}/{key}", b"others", use_multipart=False)
    assert b.supervisor().run(task_id) == TaskState.FAILED
    assert "damaged" in b.task(task_id).error["detail"]


@served
def test_a_worker_that_is_stopped_leaves_its_last_epoch_to_the_others(hosts: Hosts) -> None:
    a, b = hosts.bench("a"), hosts.bench("b")
    hosts.control.plan(epochs=1_000_000, epoch_seconds=0.05)
    task_id = a.post(["cat"])
    with a.worker() as worker:
        eventually(lambda: bool(a.events(task_id, "epoch")))
        worker.terminate()
    assert a.state(task_id) == TaskState.QUEUED
    reached = max(event.data["epoch"] for event in a.events(task_id, "epoch"))
    assert int(b.blobs.path(a.task(task_id).checkpoint).read_text()) >= reached
