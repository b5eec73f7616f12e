"""The services that are put under load: real processes, stocked with two versions and two keys."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.db import make_engine, write_session
from app.db.migrate import upgrade
from app.keys.secret import read_secret
from app.keys.service import KeyLimits, Scope, create_key
from app.settings import Settings
from app.storage import LocalBlobStore
from benchmarks.processes import Server, running, started
from demo.ports import held_port
from sats_core.classes import ClassInfo
from tests.app.inference.colour_graph import write_version
from tests.fixtures.databases import new_database
from tests.fixtures.processes import environment
from tests.fixtures.servers import postgres, run_redis
from tests.fixtures.versions import add_version

LIMITED_PER_MINUTE = 20
"""Requests of the limited key: fewer than a client sends that does not wait."""
SATS = (sys.executable, "-m", "app.cli")


@dataclass(frozen=True)
class Keys:
    """Keys of a stocked service: one that may do everything, and one with a limit."""

    admin: str
    limited: str


@dataclass(frozen=True)
class Running:
    """A service that answers.

    Attributes:
        urls: of its API processes.
        apis: those processes.
        keys: what opens it.
        database_url: of its database.
    """

    urls: tuple[str, ...]
    apis: tuple[psutil.Process, ...]
    keys: Keys
    database_url: str


@contextmanager
def embedded(folder: Path) -> Iterator[Running]:
    """Run `sats serve` on SQLite and files."""
    settings = _settings(folder)
    keys = stock(settings, folder)
    with _running("serve", settings, folder / "serve.log") as server:
        (serving,) = [one for one in server.root.children() if "api" in one.cmdline()]
        yield Running((server.url,), (serving,), keys, settings.resolved_database_url)


@contextmanager
def replicated(folder: Path, replicas: int = 2) -> Iterator[Running]:
    """Run API processes and a worker on Postgres and Redis."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres())
        broker = stack.enter_context(run_redis())
        settings = _settings(folder, new_database(server), broker)
        keys = stock(settings, folder)
        log = folder / "worker.log"
        stack.enter_context(started([*SATS, "worker"], environment(settings), log))
        apis = [
            stack.enter_context(api(settings, folder / f"api{number}.log"))
            for number in range(replicas)
        ]
        urls, processes = zip(*apis, strict=True)
        yield Running(urls, processes, keys, settings.resolved_database_url)


@contextmanager
def api(
    settings: Settings, log: Path, path: str = "/health/ready"
) -> Iterator[tuple[str, psutil.Process]]:
    """Run one API process; yields its URL and itself once it answers 200 there."""
    with _running("api", settings, log, path) as server:
        yield server.url, server.root


SERVICES = {"embedded": embedded, "replicated": replicated}


def stock(settings: Settings, folder: Path) -> Keys:
    """Give an empty service two versions of one model, whose graphs can be run, and two keys."""
    settings.data_dir.mkdir(parents=True)
    blobs = LocalBlobStore(settings.blob_dir)
    engine = make_engine(settings.resolved_database_url)
    upgrade(engine)
    secret = read_secret(settings)
    with write_session(engine) as session:
        for name in ("red", "green"):
            version = add_version(session, blobs, [name])
            classes = [ClassInfo(**entry) for entry in version.classes]
            files = write_version(folder / name, classes)
            version.files = {
                file.name: {"blob": blobs.put_file(file).key, "bytes": file.stat().st_size}
                for file in files
            }
        limits = KeyLimits(requests_per_minute=LIMITED_PER_MINUTE)
        admin = create_key(session, secret, "load", [Scope.ADMIN])
        limited = create_key(session, secret, "limited", [Scope.SEGMENT], limits=limits)
    engine.dispose()
    return Keys(admin, limited)


def _settings(folder: Path, database: str | None = None, broker: str | None = None) -> Settings:
    # No graph is kept beside the live ones: every move of `live` loads one and lets one go.
    return Settings(
        data_dir=folder / "data",
        database_url=database,
        redis_url=broker,
        serve_graph_bytes=0,
        threads=1,
    )


@contextmanager
def _running(
    command: str, settings: Settings, log: Path, path: str = "/health/ready"
) -> Iterator[Server]:
    with held_port() as port:
        words = [*SATS, command, f"--port={port}"]
        with running(words, environment(settings), port, path, log) as one:
            yield one
