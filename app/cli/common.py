"""What commands that work on the service's own database share."""

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.audit.actor import act_as
from app.cli.refusing import FAILURE, FULL, MISSING, refusal
from app.db import Actor, ActorType, is_damaged, is_passing, make_engine, said_by
from app.db.migrate import upgrade
from app.errors import NotFoundProblem, Problem, problem_of
from app.keys.secret import LostSecretError
from app.settings import Settings, get_settings
from sats_core.errors import CoreError


def check_settings() -> None:
    """Read the settings before any command does; what is wrong in them ends it."""
    try:
        get_settings()
    except ValidationError as error:
        wrong = "; ".join(map(_named, error.errors(include_url=False)))
        raise refusal(wrong) from error
    except SettingsError as error:
        raise refusal(str(error)) from error


def _named(found: ErrorDetails) -> str:
    setting = "_".join(map(str, found["loc"])).upper().removeprefix("SATS_")
    message = _in_words(found, setting)
    return f"SATS_{setting}: {message}" if setting else message


def _in_words(found: ErrorDetails, setting: str) -> str:
    """Return what is wrong, never what was set: it may be a secret; nor a regular expression."""
    if found["input"] == "":
        return "it is empty: leave it out for its default"
    field = Settings.model_fields.get(setting.lower())
    if found["type"] == "string_pattern_mismatch" and field is not None:
        return f"it does not look as it should. {field.description}"
    return found["msg"].removeprefix("Value error, ")


def make_data_dir(settings: Settings) -> None:
    """Make the folder of the service's data; where there can be none, that ends the command."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise refusal(f"SATS_DATA_DIR: {error}") from error


def log_aside() -> None:
    """Log to stderr, unless it was said where: what is asked for has stdout for itself."""
    if not structlog.is_configured():
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


@contextmanager
def database() -> Iterator[Engine]:
    """Open the service's database at its newest tables; a refusal inside ends the command."""
    log_aside()
    settings = get_settings()
    make_data_dir(settings)
    engine = make_engine(settings.resolved_database_url, settings.database_limits)
    try:
        with refusals():
            upgrade(engine)
            yield engine
    except LostSecretError as error:
        raise refusal(str(error)) from error
    except SQLAlchemyError as error:
        if is_damaged(error):
            what = f"the database cannot be read, restore a backup: {said_by(error)}"
            raise refusal(what, FAILURE) from error
        if not is_passing(error):
            raise
        raise refusal(f"the database does not answer: {said_by(error)}", FAILURE) from error
    finally:
        engine.dispose()


@contextmanager
def refusals() -> Iterator[None]:
    """A refusal inside ends the command."""
    try:
        yield
    except NotFoundProblem as problem:
        raise refusal(problem.detail, MISSING) from problem
    except Problem as problem:
        raise refusal(problem.detail) from problem
    except CoreError as error:
        raise refusal(problem_of(error).detail) from error


def command_actor() -> Actor:
    """Return who runs this command: the machine's user, where it knows its name."""
    try:
        return Actor(ActorType.CLI, getpass.getuser()[:200])
    except (KeyError, OSError):  # a container's user need not have a name
        return Actor(ActorType.CLI)


def signed(session: Session) -> None:
    """Say in a session that this command acts."""
    act_as(session, command_actor())
