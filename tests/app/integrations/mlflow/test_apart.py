"""MLflow's client in a process of its own: what it may take of time and memory is bounded."""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import psutil
import pytest
from sqlalchemy import Engine

from app.db import write_session
from app.doctor.finding import Installation
from app.doctor.mirror import find_behind
from app.integrations.mlflow import apart
from app.integrations.mlflow.apart import Apart
from app.integrations.mlflow.client import Mlflow, MlflowError
from app.integrations.mlflow.mirroring import Mirroring
from app.settings import Settings
from app.storage import BlobStore
from tests.fixtures.missing import missing
from tests.fixtures.mlflow import FakeMlflow, mlflow_server
from tests.fixtures.versions import add_version

EMBEDDED = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
NAME = "sats-default"


@pytest.fixture(scope="module")
def server() -> Iterator[FakeMlflow]:
    if find_spec("mlflow") is None:
        missing("MLflow's client is not installed: pip install -e '.[mlflow]'")
    with mlflow_server() as there:
        yield there


@pytest.fixture
def mlflow(server: FakeMlflow) -> FakeMlflow:
    server.forget()
    return server


@pytest.fixture(scope="module")
def asking(server: FakeMlflow) -> Iterator[Apart]:
    """What asks, for all tests: its process takes seconds to load the client."""
    made = Apart(server.url)
    yield made
    made.close()


@pytest.fixture
def ask(asking: Apart, mlflow: FakeMlflow) -> Apart:
    """What asks a server that knows nothing."""
    return asking


@EMBEDDED
def test_versions_are_mirrored_from_there(
    ask: Apart, mlflow: FakeMlflow, engine: Engine, blobs: BlobStore, settings: Settings
) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    for name in ("cat", "dog"):
        with write_session(engine) as session:
            add_version(session, blobs, [name])
    mirror = Mirroring(engine, blobs, settings, ask)
    assert mirror.compare() == []
    assert mlflow.numbers(NAME) == {"1": "1", "2": "2"}
    assert mlflow.live(NAME) == "2"
    mlflow.came.clear()
    assert mirror.compare() == []
    assert mlflow.came == ["GET registered-models/search"]


def test_what_the_call_raises_is_raised_here(ask: Apart, mlflow: FakeMlflow) -> None:
    mlflow.faults["registered-models/create"] = [400]
    with pytest.raises(MlflowError, match="made to fail") as refused:
        ask(Mlflow.make_model, NAME, {})
    assert refused.value.of_one_version
    ask(Mlflow.make_model, NAME, {"a": "b"})
    assert ask(Mlflow.models, "sats-")[NAME].tags == {"a": "b"}


@EMBEDDED
def test_a_server_that_sends_byte_by_byte_is_left_and_the_doctor_says_so(
    ask: Apart,
    mlflow: FakeMlflow,
    engine: Engine,
    blobs: BlobStore,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
    assert ask(Mlflow.models, "sats-") == {}, "the client is loaded"
    (process,) = _of_ask()
    monkeypatch.setattr(apart, "CALL_SECONDS", 1.0)
    mlflow.faults["registered-models/search"] = ["dripping"]
    mirror = Mirroring(engine, blobs, settings, ask)
    mirror.act()
    assert not process.is_running()
    (said,) = json.loads(settings.mlflow_file.read_text())["behind"]
    assert said == "MLflow had not answered `models` whole after 1 s"
    mirrors = settings.model_copy(update={"mlflow_tracking_uri": mlflow.url})
    (finding,) = find_behind(Installation.of(engine, mirrors))
    assert said in finding.what
    monkeypatch.setattr(apart, "CALL_SECONDS", 120.0)
    mirror._due = 0
    mirror.act()
    assert mlflow.live(NAME) == "1"
    assert not find_behind(Installation.of(engine, mirrors))


def test_an_answer_of_any_size_is_not_read_to_its_end(
    ask: Apart, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(Mlflow.models, "sats-") == {}
    (process,) = _of_ask()
    before = process.memory_info().rss
    mlflow.faults["registered-models/search"] = ["huge"]
    with pytest.raises(MlflowError):
        ask(Mlflow.models, "sats-")
    peak = max((one.memory_info().rss for one in _of_ask()), default=0)
    assert peak - before < 2 * apart.MOST_BYTES
    assert ask(Mlflow.models, "sats-") == {}


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_process_that_was_ended_is_started_again(
    ask: Apart, mlflow: FakeMlflow, how: str
) -> None:
    assert ask(Mlflow.models, "sats-") == {}
    (process,) = _of_ask()
    end: Callable[[], None] = getattr(process, how)
    end()
    with pytest.raises(MlflowError, match="ended while"):
        ask(Mlflow.models, "sats-")
    assert ask(Mlflow.models, "sats-") == {}


def test_it_ends_with_whoever_asks(ask: Apart) -> None:
    assert ask(Mlflow.models, "sats-") == {}
    (process,) = _of_ask()
    assert ask._pipe is not None
    ask._pipe.close()  # as where this process has ended
    process.wait(60)
    ask.close()


def _of_ask() -> list[psutil.Process]:
    """Return the processes in which clients of this one run."""
    children = psutil.Process().children()
    return [one for one in children if apart.__name__ in one.cmdline()]
