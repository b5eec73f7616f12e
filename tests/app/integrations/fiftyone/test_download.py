"""Held-out pictures with truth and predictions, as a zip."""

import asyncio
import io
import json
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import Engine, select
from starlette.types import Message

from app.db import HeldOutSet, Version, read_session, utc_now, write_session
from app.integrations.fiftyone.downloads import Downloads
from app.integrations.fiftyone.endpoints import _Zip
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.main import create_app
from app.settings import Settings
from app.storage import BlobStore
from sats_core.data.readers import EncodedPicture, write_voc_zip
from sats_core.data.sources import ZipSource
from tests.app.inference.colour_graph import BACKGROUND, BLUE, GREEN, RED
from tests.app.segmentation.conftest import Register, register
from tests.app.segmentation.requests import WAIT, encoded, eventually, left_red_right_green
from tests.app.segmentation.test_waiting import started

__all__ = ["register"]

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

PATH = "/admin/models/default/versions/{}/fiftyone"
PICTURE = encoded(left_red_right_green())


@pytest.fixture
def kept(engine: Engine, blobs: BlobStore, register: Register, tmp_path: Path) -> None:
    """Version 2 was learned from version 1; each came with pictures, labelled for other classes.

    The second names blue first: values of a data set are not those of the model.
    """
    register([BACKGROUND, RED])
    register([BACKGROUND, RED, GREEN, BLUE])
    label = np.full((32, 64), 1, np.uint8)
    label[0] = 255
    with write_session(engine) as session:
        first, second = session.scalars(select(Version).order_by(Version.number))
        second.parent_id = first.id
        for version, classes, count in ((first, ["red"], 2), (second, ["blue", "green"], 1)):
            items = [EncodedPicture(f"p{n}", ".png", PICTURE, label) for n in range(count)]
            file = tmp_path / f"{version.number}.zip"
            write_voc_zip(file, items, classes)
            key = blobs.put_file(file).key
            session.add(
                HeldOutSet(version_id=version.id, blob=key, classes=classes, pictures=count)
            )


def grey(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    assert image.mode == "L"
    return np.asarray(image)


@pytest.mark.usefixtures("kept")
def test_pictures_of_all_tasks_with_truth_and_predictions(client: TestClient) -> None:
    answer = client.get(PATH.format(2))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/zip"
    assert 'filename="default-2-fiftyone.zip"' in answer.headers["Content-Disposition"]
    with ZipFile(io.BytesIO(answer.content)) as found:
        assert found.testzip() is None
        stems = {"1-00000", "1-00001", "2-00000"}
        folders = ("data", "ground_truth", "predictions")
        wanted = {f"{folder}/{stem}.png" for folder in folders for stem in stems}
        assert set(found.namelist()) == wanted | {"mask_targets.json"}
        targets = json.loads(found.read("mask_targets.json"))
        assert targets == {"0": "background", "1": "red", "2": "green", "7": "blue"}
        assert found.read("data/2-00000.png") == PICTURE
        old = grey(found.read("ground_truth/1-00001.png"))
        assert (old[0, 0], old[5, 0]) == (255, RED.index)
        assert grey(found.read("ground_truth/2-00000.png"))[5, 0] == BLUE.index
        headers = {"Accept": "image/png", "Content-Type": "image/png"}
        mask = client.post("/segment?version=2", content=PICTURE, headers=headers).content
        predicted = grey(found.read("predictions/2-00000.png"))
        np.testing.assert_array_equal(predicted, np.asarray(Image.open(io.BytesIO(mask))))
        assert set(np.unique(predicted)) == {RED.index, GREEN.index}


@pytest.mark.usefixtures("kept")
def test_no_zip_is_read_or_written_on_the_event_loop(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, set[str]] = {}

    def seen(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def recorded(*given: Any, **named: Any) -> Any:
            threads.setdefault(name, set()).add(threading.current_thread().name)
            return real(*given, **named)

        monkeypatch.setattr(owner, name, recorded)

    for name in ("__init__", "read", "close"):
        seen(ZipSource, name)
    for name in ("writestr", "_write_end_record"):
        seen(ZipFile, name)
    assert client.get(PATH.format(2)).status_code == 200
    assert threads.keys() == {"__init__", "read", "close", "writestr", "_write_end_record"}
    names = set.union(*threads.values())
    assert {name.rpartition("_")[0] for name in names} == {"small-works"}


@pytest.mark.usefixtures("kept")
def test_an_earlier_version_has_its_own_pictures_alone(client: TestClient) -> None:
    with ZipFile(io.BytesIO(client.get(PATH.format(1)).content)) as found:
        assert sum(name.startswith("data/") for name in found.namelist()) == 2


@pytest.mark.usefixtures("kept")
def test_where_nothing_is_held_out_it_says_why(
    client: TestClient, engine: Engine, register: Register
) -> None:
    register(model="bare")
    answer = client.get("/admin/models/bare/versions/1/fiftyone")
    assert answer.status_code == 404
    assert "no held-out pictures" in answer.json()["detail"]
    with write_session(engine) as session:
        for one in session.scalars(select(HeldOutSet)):
            one.deleted_at = utc_now()
    assert "were deleted" in client.get(PATH.format(2)).json()["detail"]
    assert client.get(PATH.format(9)).status_code == 404
    assert client.get("/admin/models/none/versions/1/fiftyone").status_code == 404


@pytest.mark.usefixtures("kept")
def test_pictures_are_for_admins(client: TestClient, engine: Engine, settings: Settings) -> None:
    with write_session(engine) as session:
        secret = read_secret(settings)
        texts = {
            scope: create_key(session, secret, scope.value, [scope])
            for scope in (Scope.ADMIN, Scope.READ)
        }
    status = {
        scope: client.get(PATH.format(2), headers={"Authorization": f"Bearer {text}"}).status_code
        for scope, text in texts.items()
    }
    assert status == {Scope.ADMIN: 200, Scope.READ: 403}


@pytest.mark.usefixtures("kept")
def test_where_nothing_can_be_read_it_is_told_before_anything_is_sent(
    client: TestClient, engine: Engine, blobs: BlobStore
) -> None:
    first, second = (blobs.path(key) for key in _keys(engine))
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    answer = client.get(PATH.format(2))
    assert answer.status_code == 500
    assert "held-out pictures is damaged" in answer.json()["detail"]
    assert "held-out pictures is missing" in answer.json()["detail"]
    assert client.get(PATH.format(2)).status_code == 500, "it makes room for the next"


@pytest.mark.usefixtures("kept")
def test_pictures_of_a_task_that_are_gone_are_listed(
    client: TestClient, engine: Engine, blobs: BlobStore
) -> None:
    blobs.path(_keys(engine)[0]).unlink()
    with ZipFile(io.BytesIO(client.get(PATH.format(2)).content)) as found:
        assert [name for name in found.namelist() if name.startswith("data/")] == [
            "data/2-00000.png"
        ]
        (skipped,) = json.loads(found.read("skipped.json"))
    assert (skipped["version"], skipped["position"]) == (1, None)
    assert "missing" in skipped["reason"]


@pytest.mark.usefixtures("kept")
def test_pictures_that_cannot_be_read_are_left_out_and_listed(
    settings: Settings, engine: Engine, blobs: BlobStore, tmp_path: Path
) -> None:
    label = np.ones((32, 64), np.uint8)
    large = encoded(left_red_right_green().resize((65, 32)))
    items = [
        EncodedPicture("a", ".png", PICTURE, label),
        EncodedPicture("b", ".png", PICTURE[:60], label),
        EncodedPicture("c", ".png", large, np.ones((32, 65), np.uint8)),
        EncodedPicture("d", ".png", PICTURE, label),
    ]
    _replace(engine, blobs, tmp_path / "bad.zip", items)
    narrow = create_app(settings.model_copy(update={"max_pixels": 64 * 32}))
    with TestClient(narrow, "http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        answer = client.get(PATH.format(1))
    assert answer.status_code == 200
    with ZipFile(io.BytesIO(answer.content)) as found:
        assert found.testzip() is None
        names = [name for name in found.namelist() if "/" in name]
        folders = ("data", "ground_truth", "predictions")
        assert names == [f"{one}/1-{n:05d}.png" for n in (0, 3) for one in folders]
        skipped = json.loads(found.read("skipped.json"))
    assert [(one["version"], one["position"]) for one in skipped] == [(1, 1), (1, 2)]
    assert all(one["reason"] for one in skipped)


@pytest.mark.usefixtures("database_url")
def test_one_that_leaves_before_the_first_piece_makes_room() -> None:
    downloads = Downloads()

    async def pieces() -> AsyncGenerator[bytes, None]:
        with downloads.alone():
            yield b"first"

    async def left(_message: Message) -> None:
        raise ConnectionResetError

    async def leave() -> None:
        made = pieces()
        answer = _Zip("a.zip", await anext(made), made)
        with pytest.raises(ConnectionResetError):
            await answer.stream_response(left)
        with downloads.alone():
            pass

    asyncio.run(leave())


@pytest.mark.usefixtures("kept")
def test_one_zip_is_made_at_a_time(
    served: httpx.Client, engine: Engine, blobs: BlobStore, tmp_path: Path
) -> None:
    _replace(engine, blobs, tmp_path / "many.zip", _many())
    answer = served.send(served.build_request("GET", PATH.format(1)), stream=True)
    pieces = answer.iter_raw()
    assert next(pieces).startswith(b"PK")
    refused = served.get(PATH.format(1))
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "30"
    assert refused.json()["type"].endswith("overloaded")
    answer.close()
    deadline = time.monotonic() + WAIT
    while (status := served.get(PATH.format(1)).status_code) == 503 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert status == 200


@pytest.mark.usefixtures("kept")
def test_a_large_webp_that_was_taken_in_before_is_there(
    engine: Engine, blobs: BlobStore, tmp_path: Path, settings: Settings
) -> None:
    data = io.BytesIO()
    left_red_right_green().save(data, "WEBP", lossless=True)
    items = [EncodedPicture("a", ".webp", data.getvalue(), np.ones((32, 64), np.uint8))]
    write_voc_zip(tmp_path / "large.zip", items, ["red"])
    with write_session(engine) as session:
        for one in session.scalars(select(HeldOutSet)):
            one.blob = blobs.put_file(tmp_path / "large.zip").key
    # It may have as many pixels as a picture may have at most, but not when it comes anew.
    with started(settings, max_pixels=64 * 32) as (_, client):
        answer = client.get(PATH.format(1))
    with ZipFile(io.BytesIO(answer.content)) as found:
        assert len(found.namelist()) == 4


@pytest.mark.usefixtures("kept")
def test_a_client_that_leaves_is_worked_for_no_longer(
    service: FastAPI, served: httpx.Client, engine: Engine, blobs: BlobStore, tmp_path: Path
) -> None:
    _replace(engine, blobs, tmp_path / "many.zip", _many())
    inference = service.state.services.inference
    free = inference.load.free
    answer = served.send(served.build_request("GET", PATH.format(1)), stream=True)
    pieces = answer.iter_raw()
    assert next(pieces).startswith(b"PK")
    answer.close()
    assert eventually(free, inference)
    assert inference.memory.free == inference.memory.total


def _many() -> list[EncodedPicture]:
    """Return more pictures than a connection takes that nobody reads from."""
    label = np.ones((32, 64), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise))
    return [EncodedPicture(f"p{n}", ".png", data, label) for n in range(60)]


def _replace(engine: Engine, blobs: BlobStore, file: Path, items: list[EncodedPicture]) -> None:
    write_voc_zip(file, items, ["red"])
    with write_session(engine) as session:
        for one in session.scalars(select(HeldOutSet)):
            one.blob = blobs.put_file(file).key


def _keys(engine: Engine) -> list[str]:
    """Return the blobs of held-out pictures, the earlier version's first."""
    with read_session(engine) as session:
        rows = select(HeldOutSet.blob).join(Version, Version.id == HeldOutSet.version_id)
        return list(session.scalars(rows.order_by(Version.number)))
