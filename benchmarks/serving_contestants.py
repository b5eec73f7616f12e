"""Who takes part: how each is started, and what is posted to it."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.db import make_engine, write_session
from app.db.migrate import upgrade
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from app.storage import LocalBlobStore
from benchmarks.processes import NotStartedError, Server, free_port, running
from benchmarks.serving_client import request_bytes
from benchmarks.serving_pipeline import EAGER, SETUP, VERSION, Setup
from sats_core.classes import ClassInfo
from tests.fixtures.processes import environment
from tests.fixtures.versions import add_version

OURS, KEYED, LITSERVE, BENTOML, PLAIN, TORCH = (
    "ours",
    "ours, with a key",
    "LitServe",
    "BentoML",
    "plain FastAPI",
    "plain FastAPI, eager torch",
)
LIMIT = "the limit"
PROCESSES = " API processes"
FORM = "serving"

Headers = Sequence[tuple[str, str]]


def workers_name(workers: int) -> str:
    """Return what ours is called with several processes of the API."""
    return f"ours, {workers}{PROCESSES}"


@dataclass(frozen=True)
class Contestant:
    """A server that takes part.

    Attributes:
        name: of it, in tables.
        command: that starts it, but for its port.
        variables: of its environment.
        ready: path that answers 200 when it is ready.
        path: that pictures are posted to.
        headers: of each request.
        form: whether pictures go as files of a form; else they are the body.
        needs: package that must be installed.
    """

    name: str
    command: Callable[[int], list[str]]
    variables: Mapping[str, str]
    ready: str = "/ready"
    path: str = "/segment"
    headers: Headers = ()
    form: bool = False
    needs: str | None = None

    def request(self, picture: bytes) -> bytes:
        """Return the whole request for a picture."""
        if not self.form:
            return request_bytes(self.path, picture, "image/jpeg", self.headers)
        head = (
            f'--{FORM}\r\nContent-Disposition: form-data; name="picture"; filename="p.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        body = head.encode() + picture + f"\r\n--{FORM}--\r\n".encode()
        return request_bytes(self.path, body, f"multipart/form-data; boundary={FORM}", self.headers)

    @contextmanager
    def started(self, log: Path) -> Iterator[Server]:
        """Run it until the block is left.

        Raises:
            NotStartedError: it is not installed, or did not become ready.
        """
        if self.needs and importlib.util.find_spec(self.needs) is None:
            raise NotStartedError(f"{self.needs} is not installed")
        port = free_port()
        with running(self.command(port), self.variables, port, self.ready, log) as server:
            yield server


@dataclass(frozen=True)
class Installation:
    """A folder that our service runs on.

    Attributes:
        settings: of the service.
        key: that may do everything; None where none was made.
    """

    settings: Settings
    key: str | None = field(repr=False, default=None)

    @property
    def headers(self) -> Headers:
        """What opens it."""
        return [("Authorization", f"Bearer {self.key}")] if self.key else []


def install(folder: Path, version: Path, *, keyed: bool, versions: int = 1) -> Installation:
    """Stock an empty installation with an exported version, more than once where that is asked.

    Args:
        folder: must not exist yet.
        version: directory of the exported version.
        keyed: whether a key is made; without one callers on this machine need none.
        versions: how often it is registered; the last one is live.
    """
    settings = Settings(data_dir=folder)
    settings.data_dir.mkdir(parents=True)
    blobs = LocalBlobStore(settings.blob_dir)
    engine = make_engine(settings.resolved_database_url)
    upgrade(engine)
    classes = json.loads((version / "config.json").read_text())
    classes = classes.get("sats", classes)["classes"]
    known = [ClassInfo(**entry) for entry in classes][1:]
    files = [path for path in version.iterdir() if path.is_file()]
    with write_session(engine) as session:
        for number in range(versions):
            made = add_version(session, blobs, [c.name for c in known] if number == 0 else [])
            made.files = {
                file.name: {"blob": blobs.put_file(file).key, "bytes": file.stat().st_size}
                for file in files
            }
        key = None
        if keyed:
            key = create_key(session, read_secret(settings), "benchmark", [Scope.ADMIN])
    engine.dispose()
    return Installation(settings, key)


def ours(installation: Installation, name: str = OURS, workers: int = 1) -> Contestant:
    """Return our API on an installation, as it is set up by default."""
    more = [f"--workers={workers}"] if workers > 1 else []

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "app.cli", "api", f"--port={port}", *more]

    return Contestant(
        name,
        command,
        environment(installation.settings),
        ready="/health/ready",
        headers=installation.headers,
    )


def others(version: Path, setup: Setup) -> list[Contestant]:
    """Return those that we are measured against, each computing as `setup` says."""
    told = {VERSION: str(version), SETUP: str(setup)}
    quiet = ["--log-level", "warning", "--no-access-log"]

    def plain(port: int) -> list[str]:
        app = ["uvicorn", "benchmarks.serving_plain:app", "--port", str(port), *quiet]
        return [sys.executable, "-m", *app]

    def litserve(port: int) -> list[str]:
        return [sys.executable, "-m", "benchmarks.serving_litserve", str(port)]

    def bentoml(port: int) -> list[str]:
        served = ["serve", "benchmarks.serving_bentoml:Segmenter", "--host", "127.0.0.1"]
        return [sys.executable, "-m", "bentoml", *served, "--port", str(port)]

    return [
        Contestant(LITSERVE, litserve, told, ready="/health", needs="litserve"),
        Contestant(
            BENTOML,
            bentoml,
            told | {"BENTOML_DO_NOT_TRACK": "1"},
            ready="/readyz",
            form=True,
            needs="bentoml",
        ),
        Contestant(PLAIN, plain, told),
        Contestant(TORCH, plain, told | {EAGER: "1"}),
    ]
