"""`sats import-project`: learn from a project of Label Studio, by way of the service's queue."""

import re
import time
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import Engine

from app.broker import make_celery, wake
from app.cli.calling import need_client
from app.cli.common import command_actor, database
from app.cli.following import follow
from app.cli.printing import AsJson, Form, plain, print_json
from app.cli.refusing import refusal
from app.cli.submitting import print_task
from app.db import LabelStudioProject, ProjectState, read_session, write_session
from app.integrations.label_studio import asking
from app.integrations.label_studio.importing import Importing
from app.integrations.label_studio.projects import Asker
from app.integrations.label_studio.schemas import LabelStudioProjectJson
from app.registry.schemas import MAX_NUMBER, MODEL_PATTERN
from app.settings import Settings, get_settings
from app.storage import open_store
from app.telemetry.logs import configure_logs
from sats_core.data.names import printable

if TYPE_CHECKING:
    from sats_client.records import TaskRecord

FAILED = 1
"""Exit status of an import that came to nothing."""
_POLL_SECONDS = 0.5


def import_project(
    project: Annotated[
        int, typer.Argument(min=1, max=MAX_NUMBER, help="Its number in Label Studio.")
    ],
    model: Annotated[str, typer.Option(help="The model that learns.")] = "default",
    create: Annotated[
        bool, typer.Option("--create", help="Make the model where there is none of this name.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Learn the classes of a Label Studio project that a model does not know yet."""
    need_client()
    configure_logs()
    settings = get_settings()
    if settings.label_studio_url is None:
        raise refusal("set SATS_LABEL_STUDIO_URL and SATS_LABEL_STUDIO_API_KEY")
    if not re.fullmatch(MODEL_PATTERN, model):
        raise refusal(f"{model!r} is no name of a model")
    with database() as engine:
        asker = Asker(command_actor(), by_admin=True, create=create)
        with write_session(engine) as session:
            row = asking.ask(session, project, model, asker).id
        found = _imported(engine, settings, row)
        for warning in found.warnings:
            typer.echo(f"warning: {printable(warning)}", err=True)
        if found.state == ProjectState.FAILED:
            raise refusal(printable(found.error or "it failed"), FAILED)
        if found.state == ProjectState.NOTHING_NEW:
            shown = ", ".join(found.classes)
            if as_json:
                _print(found, None)
            else:
                typer.echo(f"nothing new: the model knows every class of its pictures ({shown})")
            return
        typer.echo(f"{found.pictures} pictures: {', '.join(found.classes)}", err=True)
        if found.task_id is None:
            raise refusal("its task was deleted", FAILED)
        last = follow(engine, found.task_id)
        if as_json:
            _print(found, last)
        else:
            print_task(last, Form.TABLE)
    if last.version is None:
        raise typer.Exit(FAILED)


def _print(found: LabelStudioProject, task: "TaskRecord | None") -> None:
    """Print a project as the API shows it, but its task whole, as it ended."""
    shown = LabelStudioProjectJson.of(found, None).model_dump()
    print_json({**shown, "task": plain(task)})


def _imported(engine: Engine, settings: Settings, row: int) -> LabelStudioProject:
    """Make an import, or wait for the worker that was faster; return what became of it."""
    celery = make_celery(settings)
    blobs = open_store(settings, engine)
    importing = Importing(engine, blobs, settings, lambda task: wake(celery, task))
    told = ""
    try:
        while True:
            taken = importing.next(row)
            if taken is not None:
                importing.run(taken)
            with read_session(engine) as session:
                found = session.get_one(LabelStudioProject, row)
            if found.state not in (ProjectState.WAITING, ProjectState.FETCHING):
                return found
            told = _say(found, told)
            time.sleep(_POLL_SECONDS)
    finally:
        celery.close()


def _say(found: LabelStudioProject, told: str) -> str:
    """Say what is waited for, once."""
    waits = "it waits until the task that was made of it before has ended"
    said = waits if found.state == ProjectState.WAITING else f"trying again: {found.error or '...'}"
    if said != told:
        typer.echo(printable(said), err=True)
    return said
