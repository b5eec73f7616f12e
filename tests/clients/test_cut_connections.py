"""The client behind a network that cuts connections, in front of a real service."""

from pathlib import Path

import httpx
import numpy as np
import pytest
from sqlalchemy import Engine

from app.db import write_session
from app.storage import BlobStore
from sats_client import Client, Event
from tests.app.inference.colour_graph import GREEN
from tests.app.segmentation.requests import encoded, left_red_right_green
from tests.clients.cutting import cutting
from tests.fixtures.drawings import voc_zip
from tests.fixtures.versions import FILES, add_version, content

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


def whole(_: int) -> None:
    return None


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tries follow each other at once."""
    monkeypatch.setattr("sats_client._flow.FIRST_WAIT", 0.02)


def test_a_data_set_that_is_cut_off_is_posted_once(served: httpx.Client, tmp_path: Path) -> None:
    dataset = voc_zip(tmp_path / "a.zip", ["circle"], size=96)
    half = dataset.stat().st_size // 2
    with (
        cutting(str(served.base_url), lambda n: half if n < 2 else None, whole) as proxy,
        Client(proxy.url) as client,
    ):
        task = client.submit(dataset)
    assert proxy.connections == 3
    assert [one["id"] for one in served.get("/tasks").json()["items"]] == [task.id]


def test_an_answer_that_is_cut_off_makes_no_second_task(
    served: httpx.Client, tmp_path: Path
) -> None:
    dataset = voc_zip(tmp_path / "a.zip", ["circle"])
    with (
        cutting(str(served.base_url), whole, lambda n: 100 if n < 2 else None) as proxy,
        Client(proxy.url) as client,
    ):
        task = client.submit(dataset)
    assert proxy.connections == 3
    assert [one["id"] for one in served.get("/tasks").json()["items"]] == [task.id]


def test_a_roll_back_whose_answer_is_cut_off_is_done_once(
    served: httpx.Client, engine: Engine, blobs: BlobStore
) -> None:
    with write_session(engine) as session:
        for name in ("circle", "square", "star"):
            add_version(session, blobs, [name])
    with (
        cutting(str(served.base_url), whole, lambda n: 100 if n < 2 else None) as proxy,
        Client(proxy.url) as client,
    ):
        assert client.rollback("default", 3).version == 2
    assert proxy.connections == 3
    moves = served.get("/admin/models/default/aliases/live/moves").json()["items"]
    assert [move["version"] for move in moves] == [2, 3, 2, 1]


def test_files_are_taken_up(
    served: httpx.Client, engine: Engine, blobs: BlobStore, tmp_path: Path
) -> None:
    with write_session(engine) as session:
        version = add_version(session, blobs, ["circle"])
        blob = blobs.put_file(_large(tmp_path / "large"))
        version.files = {**version.files, "large.bin": {"blob": blob.key, "bytes": blob.size}}
    with (
        cutting(str(served.base_url), whole, lambda _: 300_000) as proxy,
        Client(proxy.url, connections=1) as client,
    ):
        client.export("default", 1, tmp_path / "out")
    assert proxy.connections > 3
    assert (tmp_path / "out" / "large.bin").read_bytes() == (tmp_path / "large").read_bytes()
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == content(name, 1)


def _large(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(1_500_000))
    return path


@pytest.mark.slow
def test_a_task_is_followed_over_many_short_streams(
    bench, served: httpx.Client, tmp_path: Path
) -> None:
    dataset = voc_zip(tmp_path / "a.zip", ["circle"])
    told: list[Event] = []
    with (
        bench.worker(),
        cutting(str(served.base_url), whole, lambda _: 2500) as proxy,
        Client(proxy.url) as client,
    ):
        task = client.submit(dataset, epochs=12)
        done = task.wait(progress=told.append, timeout=120)
    assert done.live
    assert proxy.connections >= 2
    ids = [int(event.id) for event in told if event.id]
    assert ids == sorted(set(ids)), "in order, and none twice"


def test_pictures_come_through(served: httpx.Client, register) -> None:
    register()
    picture = encoded(left_red_right_green())
    with (
        cutting(str(served.base_url), whole, lambda n: 1500 if n % 2 else 900) as proxy,
        Client(proxy.url, tries=10) as client,
    ):
        found = list(client.segment_many([picture] * 20, concurrency=3))
    assert len(found) == 20
    assert all(one.mask[0, -1] == GREEN.index for one in found)
    assert proxy.connections > 5
