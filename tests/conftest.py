"""The two pairs that every test of the service runs on, and Hypothesis' profiles.

`embedded` is SQLite with the filesystem broker, `served` is a real Postgres with a real Redis.
A test that takes `settings` (or anything made from it) runs on both, each time with a new, migrated
and empty database.

Hypothesis runs the same examples every time (profile `quick`): a failure belongs to the change that
made it. `SATS_HYPOTHESIS=explore` draws others each time, from a seed that the report's header
says; `SATS_HYPOTHESIS_SEED` gives that seed again.
"""

import gc
import os
import secrets
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import hypothesis
import pytest
import redis
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.db import make_engine, session
from app.db.migrate import upgrade
from app.main import create_app
from app.settings import Settings
from app.storage import BlobStore, LocalBlobStore
from tests.fixtures import shared
from tests.fixtures.databases import Databases, database_of
from tests.fixtures.engines import sharing
from tests.fixtures.examples import examples
from tests.fixtures.logs import plain_logs
from tests.fixtures.missing import missing
from tests.fixtures.processes import serving
from tests.fixtures.s3 import S3Server, run_s3
from tests.fixtures.servers import MissingServerError, postgres, run_redis
from tests.tiers import SLOW, arrange
from tests.worker.scripted_child import Control

os.environ.setdefault("OMP_NUM_THREADS", "1")
# There are none, and to look for them among all that is installed is a sixth of the processor time
# in which the scripted child starts.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
session.create_engine = sharing(session.create_engine)
plain_logs()

PROFILE, SEED = "SATS_HYPOTHESIS", "SATS_HYPOTHESIS_SEED"
# No database in either: what an earlier run found must not decide what this one tries.
hypothesis.settings.register_profile(
    "quick", derandomize=True, deadline=None, database=None, max_examples=examples(100)
)
hypothesis.settings.register_profile(
    "explore", derandomize=False, deadline=None, database=None, print_blob=True
)
hypothesis.settings.load_profile(os.environ.get(PROFILE, "quick"))


def pytest_configure() -> None:
    """Seed what explores, the same in every process of one run."""
    if os.environ.get(PROFILE) == "explore":
        os.environ.setdefault(SEED, str(secrets.randbelow(2**32)))
        hypothesis.core.global_force_seed = int(os.environ[SEED])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import nothing of what is slow where that is left out."""
    place = collection_path.relative_to(Path(__file__).parents[1]).as_posix()
    place += "/" if collection_path.is_dir() else ""
    return True if "not slow" in config.option.markexpr and place.startswith(SLOW) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage in what is imported and collected: it stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say of every test when it runs; leave out what needs pictures that nobody can have here."""
    arrange(items)
    if shared.are_absent():
        items[:], real = shared.split(items)
        config.hook.pytest_deselected(items=real)


def pytest_report_header() -> list[str]:
    """Say which examples Hypothesis draws, and what is left out."""
    seed = f", {SEED}={os.environ[SEED]}" if SEED in os.environ else ""
    lines = [f"hypothesis: {os.environ.get(PROFILE, 'quick')}{seed}"]
    if shared.are_absent():
        lines.append(f"tests of real pictures are left out: nothing at {shared.SHARED}")
    return lines


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a real Postgres, as a user who may create databases."""
    try:
        with postgres() as url:
            yield url
    except MissingServerError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Broker URL of a real Redis."""
    try:
        with run_redis() as url:
            yield url
    except MissingServerError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server."""
    try:
        with run_s3(tmp_path_factory.mktemp("s3")) as server:
            yield server
    except MissingServerError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file."""
    path = tmp_path_factory.mktemp("template") / "sats.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """URL of a new SQLite database."""
    path = tmp_path / "sats.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def databases(postgres_url: str) -> Iterator[Databases]:
    """Databases of a real Postgres, each new, migrated and empty."""
    made = Databases(postgres_url, _migrate)
    yield made
    made.close()


@pytest.fixture(params=["embedded", "served"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a new database, SQLite and Postgres in turn."""
    if request.param == "embedded":
        yield request.getfixturevalue("sqlite_url")
        return
    lent: Databases = request.getfixturevalue("databases")
    name = lent.take()
    yield database_of(request.getfixturevalue("postgres_url"), name)
    lent.give_back(name)


@pytest.fixture
def settings(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Settings:
    """Settings of one pair: its own data_dir, database and broker, short waits."""
    broker = None
    if not database_url.startswith("sqlite"):
        broker = request.getfixturevalue("redis_url")
        _empty_redis(broker)
    return Settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        redis_url=broker,
        lease_seconds=3.0,
        heartbeat_seconds=0.5,
        sweep_seconds=0.5,
        max_upload_bytes=8 * 1024 * 1024,
        max_unpacked_bytes=32 * 1024 * 1024,
        serve_threads=1,
        serve_lone_threads=1,
        serve_batch=8,
        threads=1,
    )


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """An engine on the test's database."""
    made = make_engine(settings.resolved_database_url, settings.database_limits)
    yield made
    made.dispose()


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    """The test's blob store."""
    return LocalBlobStore(settings.blob_dir)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    """What a test and its scripted children speak through; see there for what they do not judge."""
    made = Control(tmp_path / "control")
    yield made
    made.starts()  # refuses a job that the real child would not have read


@pytest.fixture
def service(settings: Settings) -> FastAPI:
    """The HTTP service, not started."""
    return create_app(settings)


@pytest.fixture
def client(service: FastAPI) -> Iterator[TestClient]:
    """A client of the service in this process; for it, a bug is a 500 and no exception."""
    with TestClient(
        service,
        base_url="http://127.0.0.1",
        client=("127.0.0.1", 50000),
        raise_server_exceptions=False,
    ) as made:
        yield made


@pytest.fixture
def served(service: FastAPI) -> Iterator[httpx.Client]:
    """A client of the service on a real port, behind a real server."""
    with serving(service) as url, httpx.Client(base_url=url, timeout=30) as made:
        yield made


def _migrate(url: str) -> None:
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()


def _empty_redis(url: str) -> None:
    address = url.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")
    with redis.Redis.from_url(address) as client:
        client.flushdb()
