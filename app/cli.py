"""`sats`: run the service, migrate its database, make keys."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from app.db import make_engine, read_session, write_session
from app.db.migrate import upgrade
from app.errors import Problem
from app.keys.secret import read_secret
from app.keys.service import Scope, any_key, create_key, is_loopback, list_keys, revoke_key
from app.logs import configure_logs
from app.processes import Child, supervise
from app.settings import get_settings

REFUSED = 2
GRACE_SECONDS = 5
WORKER = [
    sys.executable,
    "-m",
    "celery",
    "--quiet",
    "-A",
    "worker.celery_app",
    "worker",
    "--pool=solo",
]
QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO"]

cli = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
cli.add_typer(keys, name="keys")

Host = Annotated[str, typer.Option(help="Address to listen at.", envvar="SATS_HOST")]
Port = Annotated[int, typer.Option(help="Port to listen at.", envvar="SATS_PORT")]


@cli.command()
def serve(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run the whole service: migrate the database, start the API and one worker."""
    configure_logs()
    with _database() as engine:
        upgrade(engine)
        _refuse_open(engine, host)
        _greet(engine, host, port)
    api = Child("api", [sys.executable, "-m", "app.cli", "api", f"--host={host}", f"--port={port}"])
    raise typer.Exit(supervise(api, Child("worker", [*WORKER, *QUIET])))


@cli.command()
def api(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run the HTTP API alone."""
    configure_logs()
    with _database() as engine:
        upgrade(engine)
        _refuse_open(engine, host)
    incoming = get_settings().data_dir / "tmp"
    incoming.mkdir(exist_ok=True)
    tempfile.tempdir = str(incoming)  # uploads are large, and /tmp is often in memory
    uvicorn.run(
        "app.main:app",
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


@cli.command()
def worker() -> None:
    """Run one worker alone; start as many as there are devices to train on."""
    os.execv(WORKER[0], [*WORKER, *QUIET])  # noqa: S606 - our own command, without a shell


@cli.command()
def migrate() -> None:
    """Bring the database to the newest tables."""
    with _database() as engine:
        upgrade(engine)
    typer.echo("the database is at the newest revision")


@cli.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for pictures and data.")] = Path(
        "demo-output"
    ),
    seed: Annotated[int, typer.Option(help="Of its pictures and its training.", min=0)] = 0,
    threads: Annotated[
        int | None, typer.Option(help="Of its training; default: the service's.", min=1)
    ] = None,
) -> None:
    """Show the main job on drawn pictures: learn three classes, then a fourth."""
    from demo.plan import Plan
    from demo.run import run_demo

    raise typer.Exit(run_demo(output, Plan(seed=seed, threads=threads)))


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who or what will use the key.")],
    scope: Annotated[
        list[Scope], typer.Option(help="What it may do; give it more than once for more.")
    ],
) -> None:
    """Make a key and print it: this is the only time it can be seen."""
    if not name.isprintable() or not 1 <= len(name) <= 100:
        raise _refusal("a name has 1 to 100 printable characters")
    secret = read_secret(get_settings())
    with _database() as engine:
        upgrade(engine)
        with write_session(engine) as session:
            key = create_key(session, secret, name, scope)
    typer.echo(key)


@keys.command("list")
def show() -> None:
    """List all keys; their text is not stored."""
    table = Table("name", "scopes", "made", "revoked")
    with _database() as engine:
        upgrade(engine)
        with read_session(engine) as session:
            for key in list_keys(session):
                revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
                made = f"{key.created_at:%Y-%m-%d %H:%M}"
                table.add_row(key.name, ", ".join(key.scopes), made, revoked)
    Console().print(table)


@keys.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="Name of the key.")]) -> None:
    """Stop a key from working, at once."""
    with _database() as engine:
        upgrade(engine)
        with write_session(engine) as session:
            revoke_key(session, name)
    typer.echo(f"revoked: {name}")


@contextmanager
def _database() -> Iterator[Engine]:
    settings = get_settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    engine = make_engine(settings.resolved_database_url)
    try:
        yield engine
    except Problem as problem:
        raise _refusal(problem.detail) from problem
    finally:
        engine.dispose()


def _refuse_open(engine: Engine, host: str) -> None:
    with read_session(engine) as session:
        open_to_all = not any_key(session)
    if open_to_all and not is_loopback(host):
        raise _refusal(
            f"there is no API key yet, so listening at {host} would let everybody in. "
            "Make one first: sats keys create NAME --scope admin"
        )


def _greet(engine: Engine, host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    with read_session(engine) as session:
        keyed = any_key(session)
    typer.echo(f"SATS answers at http://{shown}:{port}, its documentation is at /docs")
    if not keyed:
        typer.echo(
            "no API key was made yet: it listens on this machine only and asks for none "
            "(sats keys create)"
        )


def _refusal(message: str) -> typer.Exit:
    typer.echo(f"sats: {message}", err=True)
    return typer.Exit(REFUSED)


if __name__ == "__main__":
    cli()
