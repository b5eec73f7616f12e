"""`sats serve`, `api`, `worker`, `migrate`: the service's processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Annotated

import typer
import uvicorn
from sqlalchemy import Engine
from uvicorn.config import STARTUP_FAILURE

from app.cli.common import check_settings, database, make_data_dir
from app.cli.printing import AsJson, print_json
from app.cli.refusing import FAILURE, refusal
from app.cli.stopping import Connection, Server, Workers
from app.db import read_session
from app.db.migrate import revision
from app.http.loopback import is_loopback
from app.integrations.mlflow.client import MissingClientError, check_installed
from app.keys.secret import read_secret
from app.keys.service import any_key
from app.processes.children import Child, own, supervise
from app.processes.restarts import SIBLINGS, SUPERVISED, write_siblings_restarts
from app.settings import Settings, get_settings
from app.telemetry.logs import configure_logs
from sats_core.scratch import Scratch, sweep

QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO"]
WORKER = [*own("worker"), "--pool=solo", *QUIET]
KEEP_ALIVE_SECONDS = 75
"""A connection may rest for so long. More than the minute after which proxies and load balancers
close theirs: who closes first while the other one asks makes a request fail for nothing."""

Host = Annotated[str, typer.Option(help="Address to listen at.", envvar="SATS_HOST")]
Port = Annotated[
    int, typer.Option(min=0, max=65_535, help="Port to listen at.", envvar="SATS_PORT")
]


def serve(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run the whole service: migrate the database, start the API and one worker."""
    configure_logs()
    _refuse_no_mirror()
    sweep()
    with database() as engine:
        _refuse_open(engine, host)
        read_secret(get_settings(), engine)  # where it is lost nothing is started
        _greet(engine, host, port)
    api = Child("api", [*own("app.cli"), "api", f"--host={host}", f"--port={port}"])
    worker = Child("worker", WORKER)
    settings = get_settings()
    raise typer.Exit(supervise(api, worker, settings.restarts_file, settings.stop_seconds))


def api(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            envvar="SATS_API_WORKERS",
            help="Processes that answer. They share the port, the database and the files.",
        ),
    ] = 1,
) -> None:
    """Run the HTTP API alone."""
    configure_logs()
    sweep()
    with database() as engine:
        _refuse_open(engine, host)
        read_secret(get_settings(), engine)  # as above
    os.environ["SATS_API_WORKERS"] = str(workers)  # each reads its settings by itself
    get_settings.cache_clear()  # what the commands read before was another number
    settings = get_settings()
    _refuse_to_fail(settings)
    config = uvicorn.Config(
        "app.cli.answering:make_app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http=Connection,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        log_config=None,
        access_log=False,
    )
    if workers > 1:
        supervised = SUPERVISED in os.environ
        with _failing():
            sockets = [config.bind_socket()]
        with _meeting_place(settings) as folder:
            os.environ[SIBLINGS] = str(folder)
            tell = partial(write_siblings_restarts, folder)
            Workers(config, sockets, settings.stop_seconds, supervised=supervised, tell=tell).run()
        return
    server = Server(config)
    with suppress(KeyboardInterrupt), _failing():  # the former as uvicorn ends after ^C
        server.run()
    if not server.started:
        raise typer.Exit(FAILURE)


@contextmanager
def _failing() -> Iterator[None]:
    """Exit as commands do that fail where uvicorn cannot start, which has said why: its own status
    is that of a key which may not."""
    try:
        yield
    except SystemExit as error:
        if error.code != STARTUP_FAILURE:
            raise
        raise typer.Exit(FAILURE) from error


def worker(
    device: Annotated[
        str | None,
        typer.Option(
            help="What it trains on: cpu, cuda, cuda:1, or auto, as where nothing is said.",
            envvar="SATS_WORKER_DEVICE",
        ),
    ] = None,
) -> None:
    """Run one worker alone; start as many as there are devices to train on."""
    if device is not None:
        os.environ["SATS_WORKER_DEVICE"] = device
        get_settings.cache_clear()  # what was read before was another device
        check_settings()
    _refuse_no_mirror()
    make_data_dir(get_settings())
    sweep()
    os.execv(WORKER[0], WORKER)  # noqa: S606 - our own command, without a shell


def migrate(as_json: AsJson = False) -> None:
    """Bring the database to the newest tables."""
    with database() as engine:
        if as_json:
            print_json({"revision": revision(engine)})
        else:
            typer.echo("the database is at the newest revision")


def _refuse_no_mirror() -> None:
    if get_settings().mlflow_tracking_uri is None:
        return
    try:
        check_installed()
    except MissingClientError as error:
        raise refusal(str(error)) from error


def _refuse_open(engine: Engine, host: str) -> None:
    with read_session(engine) as session:
        open_to_all = not any_key(session)
    if open_to_all and not is_loopback(host):
        raise refusal(
            f"there is no API key yet, so listening at {host} would let everybody in. "
            "Make one first: sats keys create NAME --scope admin"
        )


def _refuse_to_fail(settings: Settings) -> None:
    """Try what would end a process at its start: several would be started again for ever."""
    from app.inference.tuning import sessions_on  # brings a runtime along: for no other command

    try:
        settings.incoming_dir.mkdir(exist_ok=True)
        sessions_on(settings.serve_runtime)
    except (OSError, ImportError) as error:
        raise refusal(str(error)) from error


def _meeting_place(settings: Settings) -> Scratch:
    """Make the folder in which processes find each other.

    Where there is one, in the system's own for such: the path of a socket has to be short.
    """
    try:
        return Scratch("api")
    except OSError:
        return Scratch("api", settings.incoming_dir)


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
