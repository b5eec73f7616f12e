"""Versions of a real service: looked at, moved, taken home."""

import hashlib
import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.db import DeviceKind, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from app.storage import BlobStore
from app.workers.needs import Resources
from sats_client import AccessDenied, Client, Conflict, NotFound
from tests.fixtures.versions import FILES, add_version, content
from worker.device import Device
from worker.presence import Presence


@pytest.fixture
def versions(engine: Engine, blobs: BlobStore) -> None:
    """Two versions of the default model and one of another; the second one is held."""
    with write_session(engine) as session:
        add_version(session, blobs, ["circle", "square"])
        add_version(session, blobs, ["star"], live=False)
        add_version(session, blobs, ["cup"], model="farm")


@pytest.mark.usefixtures("versions")
def test_versions_newest_first(client: Client, also_async) -> None:
    found = list(client.versions())
    assert [(one.number, one.live, one.parent) for one in found] == [(2, False, 1), (1, True, None)]
    assert found[0].new_classes == ("star",)
    assert [one.name for one in found[0].classes][1:] == ["circle", "square", "star"]
    assert found[0].scores.iou["star"] == 0.8
    assert client.version("default", 2) == found[0]
    assert also_async(lambda c: c.versions()) == found
    with pytest.raises(NotFound, match="9"):
        client.version("default", 9)
    with pytest.raises(NotFound):
        list(client.versions("nobody"))


@pytest.mark.usefixtures("versions")
def test_promote_and_roll_back(client: Client, also_async) -> None:
    seen = client.live()
    assert (seen.version, seen.kind) == (1, "gate")
    move = client.promote("default", 2, seen=seen)
    assert (move.version, move.kind) == (2, "promote")
    with pytest.raises(Conflict) as late:
        client.promote("default", 1, seen=seen)
    assert late.value.slug == "moved-meanwhile"
    assert client.promote("default", 2).sequence == move.sequence, "nothing was to be moved"
    assert also_async(lambda c: c.rollback("default")).version == 1
    assert client.live().version == 1
    with pytest.raises(Conflict) as wrong:
        client.rollback("default", 2)
    assert wrong.value.slug == "not-live"


@pytest.mark.usefixtures("versions")
def test_of_two_who_saw_the_same_one_moves(client: Client) -> None:
    seen = client.live()
    moved: list[object] = []

    def move() -> None:
        try:
            moved.append(client.promote("default", 2, seen=seen).version)
        except Conflict as late:
            moved.append(late.slug)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert moved.count(2) >= 1
    assert set(moved) <= {2, "moved-meanwhile"}
    assert client.live().sequence == seen.sequence + 1


@pytest.mark.usefixtures("versions")
def test_export(client: Client, also_async, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    version = client.export("farm", 1, first)
    assert {path.name for path in first.iterdir()} == set(FILES)
    for file in version.files:
        data = (first / file.name).read_bytes()
        assert data == content(file.name, 1, "farm")
        assert hashlib.sha256(data).hexdigest() == file.sha256
    second.mkdir()
    name = FILES[0]
    (second / f"{name}.part").write_bytes(content(name, 1, "farm")[:7])
    also_async(lambda c: c.export("farm", 1, second))
    assert (second / name).read_bytes() == content(name, 1, "farm")
    assert not (second / f"{name}.part").exists()


@pytest.mark.usefixtures("versions")
def test_overview(client: Client) -> None:
    found = client.overview()
    farm = next(one for one in found.models if one.name == "farm")
    assert farm.live is not None
    assert farm.live.version == 1
    assert [one.name for one in farm.live.classes] == ["background", "cup"]
    assert (farm.tasks.succeeded, farm.running) == (1, None)
    assert found.workers.busy == ()


def test_workers(client: Client, engine: Engine, also_async) -> None:
    device = Device("NVIDIA X", 2, Resources(DeviceKind.CUDA, 24_000))
    Presence(engine, "gpu-1:4711", "1.2.3", device, 60.0).beat()
    (worker,) = client.workers()
    assert (worker.name, worker.alive, worker.task) == ("gpu-1:4711", True, None)
    assert (worker.device, worker.devices, worker.memory_mib) == ("cuda", 2, 24_000)
    assert also_async(lambda client: client.workers()) == [worker]
    assert client.overview().workers.idle == ("gpu-1:4711",)


@pytest.mark.usefixtures("versions")
def test_keys(client: Client, served, engine: Engine, settings: Settings) -> None:
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "k", [Scope.SEGMENT])
    with pytest.raises(AccessDenied) as without:
        client.classes()
    assert without.value.status == 401
    with Client(str(served.base_url), key) as mine:
        assert mine.classes().version == 1
        with pytest.raises(AccessDenied) as wrong:
            mine.promote("default", 2)
    assert (wrong.value.status, wrong.value.slug) == (403, "forbidden")
