"""MLflow is brought to what the registry says, whatever fails meanwhile."""

import json
import sys
from collections.abc import Callable, Iterator

import pytest
import yaml
from sqlalchemy import Engine, select

from app.db import Model, Version, utc_now, write_session
from app.integrations.mlflow import mirroring
from app.integrations.mlflow.client import MlflowError
from app.integrations.mlflow.mirroring import Mirroring
from app.registry.moves import promote, rollback
from app.settings import Settings
from app.storage import BlobStore
from tests.fixtures.missing import missing
from tests.fixtures.mlflow import FakeMlflow, Fault, in_this_process, mlflow_server
from tests.fixtures.versions import add_version, content

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

NAME = "sats-default"
Compare = Callable[[], list[str]]


@pytest.fixture
def mlflow() -> Iterator[FakeMlflow]:
    try:
        import mlflow  # noqa: F401
    except ImportError:
        missing("MLflow's client is not installed: pip install -e '.[mlflow]'")
    with mlflow_server() as there:
        yield there


@pytest.fixture
def mirror(engine: Engine, blobs: BlobStore, settings: Settings, mlflow: FakeMlflow) -> Mirroring:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return Mirroring(engine, blobs, settings, in_this_process(mlflow.url))


@pytest.fixture
def add(engine: Engine, blobs: BlobStore) -> Callable[..., int]:
    def made(*classes: str, model: str = "default", live: bool = True) -> int:
        with write_session(engine) as session:
            return add_version(session, blobs, classes, model=model, live=live).number

    return made


def test_versions_from_before_are_mirrored_with_what_is_known_of_them(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int]
) -> None:
    add("cat", "a (b)", "a [b]")
    add("dog")
    assert mirror.compare() == []
    assert mlflow.numbers(NAME) == {"1": "1", "2": "2"}
    assert mlflow.live(NAME) == "2"
    first, second = mlflow.versions
    assert first["tags"]["sats.model"] == "default"
    assert "sats.parent" not in first["tags"]
    assert second["tags"]["sats.parent"] == "1"
    assert len(second["tags"]["sats.checksum"]) == 64
    run = mlflow.runs[second["run_id"]]
    assert run["status"] == "FINISHED"
    assert run["metrics"]["iou/dog"] == 0.8
    assert run["metrics"]["forgetting/cat"] == 0
    assert {"iou/a _b_", "iou/a _b__"} <= run["metrics"].keys()
    assert run["metrics"]["miou_all"] == 0.75
    assert {"method", "epochs", "backbone_start"} <= run["params"].keys()


def test_what_is_uploaded_is_a_model_that_needs_nothing_of_ours(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int]
) -> None:
    add("cat")
    mirror.compare()
    (run,) = mlflow.runs
    root = f"1/{run}/artifacts/model/"
    files = {name.removeprefix(root): data for name, data in mlflow.files.items()}
    assert files["data/model.onnx"] == content("model.onnx", 1)
    assert files["data/config.json"] == content("config.json", 1)
    described = yaml.safe_load(files["MLmodel"])
    flavor = described["flavors"]["python_function"]
    assert files[f"code/{flavor['loader_module']}.py"].startswith(b'"""Segments pictures')
    assert not [name for name in files if name.endswith(".pkl")]
    assert mlflow.versions[0]["source"] == f"mlflow-artifacts:/1/{run}/artifacts/model"


def test_what_is_there_is_not_made_again_and_costs_one_request(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int]
) -> None:
    add("cat")
    add("dog", model="other")
    mirror.compare()
    mlflow.came.clear()
    mirror.compare()
    assert mlflow.came == ["GET registered-models/search"]


def test_another_process_finds_what_this_one_has_made(
    mirror: Mirroring,
    mlflow: FakeMlflow,
    add: Callable[..., int],
    engine: Engine,
    blobs: BlobStore,
    settings: Settings,
) -> None:
    add("cat")
    mirror.compare()
    mlflow.models[NAME]["tags"].pop("sats.mirrored")  # even so
    another = Mirroring(engine, blobs, settings, in_this_process(mlflow.url))
    assert another.compare() == []
    assert (len(mlflow.runs), len(mlflow.versions)) == (1, 1)


def test_the_alias_follows_promotions_and_roll_backs(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int], engine: Engine
) -> None:
    add("cat")
    add("dog", live=False)
    mirror.compare()
    assert mlflow.live(NAME) == "1"
    with write_session(engine) as session:
        promote(session, session.scalars(select(Model)).one(), 2)
    mirror.compare()
    assert mlflow.live(NAME) == "2"
    with write_session(engine) as session:
        rollback(session, session.scalars(select(Model)).one(), 2)
    mirror.compare()
    assert mlflow.live(NAME) == "1"
    mlflow.models[NAME]["aliases"]["live"] = "2"  # by somebody else
    mirror.compare()
    assert mlflow.live(NAME) == "1"


def test_a_model_of_which_nothing_is_live_has_no_alias(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int]
) -> None:
    add("cat", live=False)
    assert mirror.compare() == []
    assert mlflow.models[NAME]["aliases"] == {}
    mlflow.models[NAME]["aliases"]["live"] = "1"
    mirror.compare()
    assert mlflow.models[NAME]["aliases"] == {}


def test_a_deleted_version_is_tagged_and_stays(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int], engine: Engine
) -> None:
    add("cat")
    add("dog", live=False)
    add("cow", live=False)
    _delete(engine, 3)
    mirror.compare()
    assert mlflow.numbers(NAME) == {"1": "1", "2": "2"}, "its files were gone before"
    _delete(engine, 2)
    mirror.compare()
    assert "sats.deleted_at" in mlflow.versions[1]["tags"]
    assert "sats.deleted_at" not in mlflow.versions[0]["tags"]
    mlflow.came.clear()
    mirror.compare()
    assert len(mlflow.came) == 1


def test_a_model_of_another_service_is_left_alone(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int]
) -> None:
    add("cat")
    add("dog", model="mine")
    theirs = {"tags": {"sats.model": "default", "sats.model_created_at": "1999"}, "aliases": {}}
    mlflow.models[NAME] = theirs
    (said,) = mirror.compare()
    assert "SATS_MLFLOW_PREFIX" in said
    assert mlflow.numbers(NAME) == {}
    assert mlflow.live("sats-mine") == "1"


CALLS: list[tuple[str, Fault]] = [
    ("registered-models/search", 500),
    ("registered-models/create", "lost"),
    ("model-versions/search", 500),
    ("experiments/get-by-name", 500),
    ("experiments/create", "lost"),
    ("runs/search", 500),
    ("runs/create", "lost"),
    ("runs/log-batch", "lost"),
    ("artifacts", 500),
    ("runs/update", "lost"),
    ("runs/get", 500),
    ("model-versions/create", 500),
    ("model-versions/create", "lost"),
    ("registered-models/alias", 500),
    ("registered-models/set-tag", "lost"),
    ("registered-models/search", "strange"),
    ("registered-models/create", "strange"),
    ("runs/search", "strange"),
    ("runs/create", "strange"),
    ("runs/get", "strange"),
    ("model-versions/create", "strange"),
]


@pytest.mark.parametrize(("call", "fault"), CALLS)
def test_whatever_call_fails_it_is_mended_and_nothing_is_there_twice(
    mirror: Mirroring,
    mlflow: FakeMlflow,
    add: Callable[..., int],
    call: str,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirroring, "FIRST_WAIT_SECONDS", 0)
    add("cat")
    add("dog")
    mlflow.faults[call] = [fault]
    mirror.act()
    assert not mlflow.faults[call], "it was called"
    for _ in range(2):
        mirror.act()
    assert mlflow.numbers(NAME) == {"1": "1", "2": "2"}
    assert mlflow.live(NAME) == "2"
    assert [run["status"] for run in mlflow.runs.values()] == ["FINISHED"] * 2
    assert len({name for name in mlflow.files if name.endswith("model.onnx")}) == 2
    mlflow.came.clear()
    mirror.act()
    assert mlflow.came == ["GET registered-models/search"]


def test_a_list_without_end_is_not_read_to_its_end(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int], settings: Settings
) -> None:
    add("cat")
    mlflow.faults["registered-models/search"] = ["endless"] * 1000
    mirror.act()
    assert "more than 100 pages" in settings.mlflow_file.read_text()
    assert len(mlflow.came) == 100


def test_a_version_that_mlflow_refuses_holds_up_no_other(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int]
) -> None:
    add("cat")
    add("dog")
    mlflow.faults["model-versions/create"] = [400]
    (said,) = mirror.compare()
    assert said.startswith("default@1: ")
    assert mlflow.numbers(NAME) == {"1": "2"}
    assert mlflow.live(NAME) == "2"
    assert mirror.compare() == []
    assert mlflow.numbers(NAME) == {"1": "2", "2": "1"}


def test_a_store_that_the_client_cannot_write_to_holds_up_no_other_model(
    mirror: Mirroring,
    mlflow: FakeMlflow,
    add: Callable[..., int],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)  # as it is where nobody has installed it
    add("cat")
    add("dog", model="other")
    mlflow.stores["1"] = "s3://bucket/"
    mirror.act()
    (said,) = json.loads(settings.mlflow_file.read_text())["behind"]
    assert said.startswith("default@1: ")
    assert "boto3" in said
    assert mlflow.live("sats-other") == "1"
    mlflow.came.clear()
    mirror.act()
    assert mlflow.came == [], "it is not asked again before it is time"


def test_a_fault_of_our_own_in_one_model_holds_up_no_other(
    mirror: Mirroring,
    mlflow: FakeMlflow,
    add: Callable[..., int],
    engine: Engine,
    settings: Settings,
) -> None:
    add("cat")
    add("dog", model="other")
    with write_session(engine) as session:
        first = session.scalars(select(Version).where(Version.number == 1)).first()
        assert first is not None
        first.classes = [{}]
    mirror.act()
    (said,) = json.loads(settings.mlflow_file.read_text())["behind"]
    assert said.startswith("default: ")
    assert mlflow.live("sats-other") == "1"
    assert mirror._due > 0


def test_a_run_that_was_begun_with_other_parameters_is_left_for_a_new_one(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int], engine: Engine
) -> None:
    add("cat")
    mlflow.faults["runs/log-batch"] = ["lost"]
    with pytest.raises(MlflowError):
        mirror.compare()
    with write_session(engine) as session:
        version = session.scalars(select(Version)).one()
        version.settings = {**version.settings, "epochs": 99}
    assert mirror.compare() == []
    assert [run["status"] for run in mlflow.runs.values()] == ["RUNNING", "FINISHED"]
    assert list(mlflow.runs.values())[1]["params"]["epochs"] == "99"
    assert mlflow.live(NAME) == "1"


def test_a_damaged_version_holds_up_no_other(
    mirror: Mirroring,
    mlflow: FakeMlflow,
    add: Callable[..., int],
    engine: Engine,
    blobs: BlobStore,
) -> None:
    add("cat")
    add("dog")
    with write_session(engine) as session:
        first = session.scalars(select(Version).where(Version.number == 1)).one()
        blobs.path(first.files["model.onnx"]["blob"]).unlink()
    (said,) = mirror.compare()
    assert said.startswith("default@1: ")
    assert "missing" in said
    assert mlflow.numbers(NAME) == {"1": "2"}


def test_an_outage_is_waited_for_longer_and_longer_and_told(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int], settings: Settings
) -> None:
    add("cat")
    mlflow.faults["registered-models/search"] = [500] * 2
    mirror.act()
    told = json.loads(settings.mlflow_file.read_text())
    assert told["since"].endswith("Z")
    assert "500" in told["behind"][0]
    came = len(mlflow.came)
    mirror.act()
    assert len(mlflow.came) == came, "it is not asked again before it is time"
    mirror._due = 0
    mirror.act()
    assert json.loads(settings.mlflow_file.read_text())["since"] == told["since"]
    mirror._due = 0
    mirror.act()
    assert json.loads(settings.mlflow_file.read_text()) == {"since": None, "behind": []}
    assert mlflow.live(NAME) == "1"


def test_one_worker_at_a_time(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int], settings: Settings
) -> None:
    add("cat")
    with mirroring._turn(settings.data_dir / "mlflow.lock") as ours:
        assert ours
        mirror.act()
        assert mlflow.came == []
    mirror.act()
    assert mlflow.live(NAME) == "1"


def test_a_process_that_ends_leaves_the_rest_to_the_next(
    mirror: Mirroring, mlflow: FakeMlflow, add: Callable[..., int], settings: Settings
) -> None:
    add("cat")
    mirror.stopping.set()
    mirror.act()
    assert mlflow.versions == []
    assert not settings.mlflow_file.exists()


def test_nothing_is_asked_while_there_is_nothing_to_mirror(
    mirror: Mirroring, mlflow: FakeMlflow
) -> None:
    assert mirror.compare() == []
    assert mlflow.came == []


def _delete(engine: Engine, number: int) -> None:
    with write_session(engine) as session:
        found = session.scalars(select(Version).where(Version.number == number)).one()
        found.deleted_at = utc_now()
