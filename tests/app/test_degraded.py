"""What still works while a part is down, as docs/degraded.md says it."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis import Redis
from sqlalchemy import Engine, make_url
from starlette.testclient import TestClient

from app.db import TaskState, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.main import create_app
from app.settings import Settings
from app.storage import BlobStore
from tests.app.segmentation.conftest import Register, register
from tests.app.segmentation.requests import as_files, encoded, left_red_right_green
from tests.app.tasks.posting import drawn, post
from tests.fixtures.processes import serving
from tests.fixtures.samples import samples
from tests.fixtures.servers import (
    MissingServerError,
    postgres_stopped,
    redis_in,
    redis_url_in,
)
from tests.worker.bench import Bench, eventually
from tests.worker.scripted_child import Control

__all__ = ["register"]

PIXELS = left_red_right_green()
PICTURE = as_files(encoded(PIXELS))
VERSIONS = "/admin/models/default/versions"

embedded = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


def segmented(client: httpx.Client, key: dict[str, str]) -> dict[str, httpx.Response]:
    """Ask for masks by every protocol; return the answers by their paths."""
    pixels = np.asarray(PIXELS)[None]
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(pixels.shape)}
    asked = {"inputs": [tensor | {"data": pixels.ravel().tolist()}]}
    sent: dict[str, dict[str, Any]] = {
        "/segment": PICTURE,
        "/v2/models/default/infer": {"json": asked},
        "/hf/default": {"content": encoded(PIXELS)},
    }
    return {path: client.post(path, headers=key, **body) for path, body in sent.items()}


@contextmanager
def started(settings: Settings, **changes: Any) -> Iterator[httpx.Client]:
    app = create_app(settings.model_copy(update=changes))
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def come_back_later(answer: httpx.Response) -> bool:
    """Whether an answer is 503 as a problem that says when to come back."""
    problem = answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code == 503 and problem and int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("database_url", ["served"], indirect=True)
def test_without_the_database_what_is_loaded_answers_whoever_is_known(
    settings: Settings, register: Register, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    register()
    with write_session(engine) as session:
        secret = read_secret(settings)
        keys = [create_key(session, secret, name, list(Scope)) for name in ("known", "unknown")]
    known, unknown = ({"Authorization": f"Bearer {key}"} for key in keys)
    engine.dispose()
    server = make_url(database_url).set(database="postgres")
    # No answer may be of use because it is still fresh: each asks, hears nothing, and goes on.
    with started(settings, key_cache_seconds=0.0) as client:
        answers = segmented(client, known)
        well = dict.fromkeys(answers, 200)
        assert {path: answer.status_code for path, answer in answers.items()} == well
        try:
            with postgres_stopped(server.render_as_string(hide_password=False)):
                for _ in range(2):
                    answers = segmented(client, known)
                    assert {path: answer.status_code for path, answer in answers.items()} == well
                    assert client.get("/classes", headers=known).json()["version"] == 1
                refused = segmented(client, unknown)
                ours = refused.pop("/v2/models/default/infer")  # in the form of its protocol
                assert (ours.status_code, list(ours.json())) == (503, ["error"])
                assert int(ours.headers["Retry-After"]) > 0
                assert [path for path, one in refused.items() if not come_back_later(one)] == []
                other = client.get("/classes", params={"model": "other"}, headers=known)
                assert come_back_later(other)
                for path in ("/tasks", VERSIONS, "/admin/models"):
                    assert come_back_later(client.get(path, headers=known)), path
                assert samples(client)["sats_database_up",] == 0
                assert come_back_later(post(client, drawn(tmp_path, "cat"), **known))
                ready = client.get("/health/ready")
                assert come_back_later(ready)
                assert [error["field"] for error in ready.json()["errors"]] == ["database"]
                assert client.get("/health/live").status_code == 200
        except MissingServerError as error:
            pytest.skip(str(error))
        assert client.get("/tasks", headers=known).status_code == 200
        assert client.get("/health/ready").status_code == 200
        assert client.post("/segment", **PICTURE, headers=unknown).status_code == 200


@pytest.fixture
def redis_folder() -> Iterator[Path]:
    """A folder for a Redis that comes and goes; a socket's path must be short."""
    folder = Path(tempfile.mkdtemp(prefix="sats-redis-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bench(
    settings: Settings, engine: Engine, blobs: BlobStore, control: Control, redis_folder: Path
) -> Bench:
    """What asks a Redis of its own for messages, which is not there yet."""
    control.plan()
    own = settings.model_copy(update={"redis_url": redis_url_in(redis_folder)})
    return Bench(own, engine, blobs, control)


@embedded
def test_without_redis_tasks_are_accepted_and_run_when_it_is_back(
    bench: Bench, register: Register, redis_folder: Path, tmp_path: Path
) -> None:
    register(model="street")
    with ExitStack() as stack:
        redis = stack.enter_context(ExitStack())
        redis.enter_context(redis_in(redis_folder))
        client = stack.enter_context(started(bench.settings))
        worker = stack.enter_context(bench.worker())
        eventually(lambda: " ready." in worker.log.read_text())
        redis.close()
        answer = post(client, drawn(tmp_path, "dog"))
        assert answer.status_code == 202
        ready = client.get("/health/ready").json()
        assert [error["field"] for error in ready["errors"]] == ["broker"]
        answered = client.post("/segment", params={"model": "street"}, **PICTURE)
        assert answered.status_code == 200
        redis.enter_context(redis_in(redis_folder))
        bench.ends(answer.json()["id"], TaskState.LIVE)


@embedded
def test_a_worker_whose_step_ends_while_redis_is_away_hears_of_the_next_one(
    bench: Bench, register: Register, redis_folder: Path
) -> None:
    bench.control.plan(epochs=2, gated=1)
    register(model="street")
    with ExitStack() as stack:
        redis = stack.enter_context(ExitStack())
        redis.enter_context(redis_in(redis_folder))
        worker = stack.enter_context(bench.worker())
        first = bench.post(["dog"])
        bench.trains(first)
        # It is done with its message: while it holds one it asks Redis for no other.
        with Redis(unix_socket_path=str(redis_folder / "redis.sock")) as asked:
            assert asked.hlen("unacked") == 0
        redis.close()
        second = bench.post(["cat"])
        bench.control.let_on()
        bench.ends(first, TaskState.LIVE)
        # The last that it does before it is done with the message.
        eventually(lambda: "wake_up_not_sent" in worker.log.read_text())
        redis.enter_context(redis_in(redis_folder))
        bench.ends(second, TaskState.LIVE)


@embedded
def test_without_blobs_what_is_loaded_answers(
    settings: Settings, register: Register, tmp_path: Path
) -> None:
    register()
    register(live=False)
    with started(settings) as client:
        assert client.post("/segment", **PICTURE).json()["version"] == 1
        settings.blob_dir.rename(tmp_path / "away")
        settings.blob_dir.touch()
        assert client.post("/segment", **PICTURE).json()["version"] == 1
        assert client.get("/classes").status_code == 200
        assert come_back_later(client.post("/segment", params={"version": 2}, **PICTURE))
        assert come_back_later(client.get(f"{VERSIONS}/1/files/model.onnx"))
        assert come_back_later(post(client, drawn(tmp_path, "cat")))
        ready = client.get("/health/ready")
        assert come_back_later(ready)
        assert [error["field"] for error in ready.json()["errors"]] == ["blobs"]
        assert client.get("/tasks").status_code == 200
        settings.blob_dir.unlink()
        (tmp_path / "away").rename(settings.blob_dir)
        assert client.get(f"{VERSIONS}/1/files/model.onnx").status_code == 200
        assert client.get("/health/ready").status_code == 200


@embedded
def test_a_process_that_begins_while_the_disk_of_the_blobs_is_away_waits_for_it(
    settings: Settings, register: Register, tmp_path: Path
) -> None:
    register()
    settings.blob_dir.rename(tmp_path / "away")
    settings.blob_dir.mkdir()
    with started(settings, serve_warm_up_seconds=0.0) as client:
        assert come_back_later(post(client, drawn(tmp_path, "cat")))
        ready = client.get("/health/ready")
        assert come_back_later(ready)
        assert [error["field"] for error in ready.json()["errors"]] == ["blobs"]
        assert "is it not mounted" in ready.json()["errors"][0]["message"]
        settings.blob_dir.rmdir()
        (tmp_path / "away").rename(settings.blob_dir)
        assert client.get("/health/ready").status_code == 200
        assert post(client, drawn(tmp_path, "cat")).status_code == 202
        assert client.get(f"{VERSIONS}/1/files/model.onnx").status_code == 200


@embedded
def test_a_database_that_was_read_only_for_a_while_is_written_again(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    app = create_app(settings)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        assert client.get("/tasks").status_code == 200
        read_only(app.state.services.engine)
        assert come_back_later(post(client, drawn(tmp_path, "cat")))
        assert client.get("/tasks").status_code == 200
        assert post(client, drawn(tmp_path, "cat")).status_code == 202


def read_only(engine: Engine) -> None:
    """Leave every connection of a process as one that was opened while nobody might write."""
    opened = [engine.connect() for _ in range(40)]
    for connection in opened:
        connection.exec_driver_sql("PRAGMA query_only=ON")
        connection.close()


@embedded
def test_a_process_without_files_left_is_busy_and_its_store_is_not_to_blame(
    settings: Settings,
) -> None:
    def opens() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    app = create_app(settings)
    app.add_api_route("/opens", opens)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        answer = client.get("/opens")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "the service may open no more files"
