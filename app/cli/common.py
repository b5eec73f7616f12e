"""What commands that work on the service's own database share."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.audit.actor import Actor, ActorType, act_as
from app.db import make_engine
from app.db.migrate import upgrade
from app.errors import Problem, problem_of
from app.settings import get_settings
from sats_core.errors import CoreError

REFUSED = 2
"""Exit status of a command that was refused; typer gives it to wrong words too."""


@contextmanager
def database() -> Iterator[Engine]:
    """Open the service's database at its newest tables; a refusal inside ends the command."""
    settings = get_settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    engine = make_engine(settings.resolved_database_url, settings.database_limits)
    try:
        upgrade(engine)
        yield engine
    except Problem as problem:
        raise refusal(problem.detail) from problem
    except CoreError as error:
        raise refusal(problem_of(error).detail) from error
    finally:
        engine.dispose()


def refusal(message: str) -> typer.Exit:
    """Say why not; returns what to raise."""
    typer.echo(f"sats: {message}", err=True)
    return typer.Exit(REFUSED)


def command_actor() -> Actor:
    """Return who runs this command: the machine's user, where it knows its name."""
    try:
        return Actor(ActorType.CLI, getpass.getuser()[:200])
    except (KeyError, OSError):  # a container's user need not have a name
        return Actor(ActorType.CLI)


def signed(session: Session) -> None:
    """Say in a session that this command acts."""
    act_as(session, command_actor())
