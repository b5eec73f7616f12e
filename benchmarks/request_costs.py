"""What does a request ask of the database, and what does that write?

    python -m benchmarks.request_costs

Runs the API in this process on a Postgres of its own, asks each call again and again, and counts
its statements and the bytes of the database's log. Looks that threads take on their own, twice a
second whatever is asked, are left out. Writes its section of `scale.json` to `--results`.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from app.db import make_engine, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.main import create_app
from app.settings import Settings
from benchmarks.load_clients import SMALL
from benchmarks.load_services import stock
from benchmarks.scale_record import write_section
from tests.fixtures.databases import new_database
from tests.fixtures.drawings import draw, encoded, voc_zip
from tests.fixtures.servers import postgres
from tests.fixtures.statements import Statements

WARM = 3
"""Requests of each kind before those that count."""
Record = dict[str, Any]
Ask = Callable[[int], Any]


@dataclass(frozen=True)
class Stocked:
    """A service in this process that has versions, and the keys that open it.

    Attributes:
        client: of the service.
        engine: its database.
        admin: a key that may do everything.
        strangers: keys that nobody has used yet.
        folder: for what is posted.
    """

    client: TestClient
    engine: Engine
    admin: str
    strangers: tuple[str, ...]
    folder: Path


@contextmanager
def stocked(folder: Path, database_url: str, strangers: int) -> Iterator[Stocked]:
    """Run the service on an empty database."""
    settings = Settings(data_dir=folder / "data", database_url=database_url, threads=1)
    admin = stock(settings, folder).admin
    engine = make_engine(settings.resolved_database_url)
    with write_session(engine) as session:
        secret, asks = read_secret(settings), [Scope.SEGMENT]
        made = [create_key(session, secret, f"key {n}", asks) for n in range(strangers)]
    engine.dispose()
    app = create_app(settings)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield Stocked(client, app.state.services.engine, admin, tuple(made), folder)


def calls(service: Stocked) -> dict[str, Ask]:
    """Return what is asked, by what the record calls it; each is told how often it was before."""
    picture = encoded(draw(np.random.default_rng(0), ["red", "green"], 64)[0])
    zipped = voc_zip(service.folder / "drawn.zip", ["cat"], pictures=3, size=32).read_bytes()
    posted: list[str] = []

    def segment(key: str) -> Any:
        said = {"Content-Type": "image/jpeg", "Accept": "application/json"}
        return service.client.post("/segment", content=picture, headers=said | _with(key))

    def get(path: str) -> Any:
        return service.client.get(path, headers=_with(service.admin))

    def post(number: int) -> Any:
        spec = json.dumps(SMALL | {"name": "cat", "model": f"m{number}"})
        answer = service.client.post(
            "/tasks",
            files={"dataset": ("drawn.zip", zipped)},
            data={"spec": spec},
            headers=_with(service.admin),
        )
        posted.append(answer.json()["id"])
        return answer

    return {
        "POST /segment": lambda _: segment(service.admin),
        "POST /segment, a key's first": lambda number: segment(service.strangers[number]),
        "POST /tasks": post,
        "GET /tasks/{id}": lambda number: get(f"/tasks/{posted[number]}"),
        "GET /tasks": lambda _: get("/tasks"),
        "GET /classes": lambda _: get("/classes"),
        "GET /health/ready": lambda _: get("/health/ready"),
    }


def _with(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def measure(service: Stocked, times: int) -> dict[str, Record]:
    """Ask each call so often; return statements and bytes of each.

    Raises:
        RuntimeError: one was not answered as it should be.
    """
    found = {}
    for name, ask in calls(service).items():
        number = count()
        for _ in range(WARM):
            _checked(name, ask(next(number)))
        before = _wal(service.engine)
        with Statements(service.engine) as asked:
            for _ in range(times):
                _checked(name, ask(next(number)))
            statements = len(asked.seen)
        found[name] = {
            "statements": round(statements / times, 1),
            "wal_bytes": round((_wal(service.engine) - before) / times),
        }
    return found


def _checked(name: str, answer: Any) -> None:
    if not answer.is_success:
        raise RuntimeError(f"{name}: {answer.status_code} {answer.text}")


def _wal(engine: Engine) -> int:
    """Return how many bytes the server has written to its log."""
    asked = text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
    with engine.connect() as connection:
        return int(connection.execute(asked).scalar_one())


def main(
    times: Annotated[int, typer.Option(help="How often each call is asked.")] = 100,
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Ask calls of a service; write what each asks of the database."""
    with (
        tempfile.TemporaryDirectory(prefix="sats-requests-") as folder,
        postgres() as server,
        stocked(Path(folder), new_database(server), WARM + times) as service,
    ):
        found = {"times": times, "calls": measure(service, times)}
    write_section(results, "requests", f"python -m benchmarks.request_costs --times {times}", found)
    typer.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
