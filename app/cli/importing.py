"""`sats import`: a checkpoint from this machine or a hub, by way of the service's own queue."""

import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from sqlalchemy import Engine

from app.broker import make_celery, wake
from app.cli.calling import Exit, end_of, need_client, service
from app.cli.checkpoints import found, pack
from app.cli.common import command_actor, database, refusals
from app.cli.following import follow
from app.cli.logins import LoginsError, read_logins
from app.cli.printing import Form, Output
from app.cli.refusing import refusal
from app.cli.sending import sending
from app.cli.submitting import ended, print_task
from app.db import read_session
from app.errors.fields import invalid_fields
from app.imports.checking import CHECKPOINT, EVALUATE, check_import
from app.imports.schemas import ImportSpec
from app.registry.naming import check_known
from app.registry.problems import UnknownModelProblem
from app.settings import Settings, get_settings
from app.storage import Blob, open_store
from app.tasks.accepting import Acceptance
from app.tasks.disk import check_task_fits
from app.tasks.schemas import TaskJson
from app.tasks.submission import Submission
from sats_core.data.names import printable
from sats_core.scratch import Scratch
from sats_core.settings import KEPT_FEATURES

if TYPE_CHECKING:
    from sats_client import Client

FAILED = 1
"""Exit status of an import that was queued and came to nothing."""


def import_model(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A Hugging Face SegFormer: its directory, or its id on the hub."
        ),
    ],
    model: Annotated[str, typer.Option(help="The model that gets the version.")] = "default",
    create: Annotated[
        bool, typer.Option("--create", help="Make the model, if there is none of this name.")
    ] = False,
    background: Annotated[
        str | None, typer.Option(help="The class that is the background; `none`: there is none.")
    ] = None,
    evaluate: Annotated[
        Path | None,
        typer.Option(
            help="Zip of labelled pictures to score it on; of its split `train`, if it has others "
            "too, features are kept instead.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    features: Annotated[
        int, typer.Option(help="Pixels whose features are kept; 0 keeps none.")
    ] = KEPT_FEATURES,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read pytorch_model.bin too, tensors alone.")
    ] = False,
    promote: Annotated[
        bool, typer.Option("--promote/--no-promote", help="Go live when it is imported.")
    ] = True,
    url: Annotated[
        str | None,
        typer.Option(help="Send it to the service there; SATS_URL or `sats login` alone do not."),
    ] = None,
    output: Output = Form.TABLE,
) -> None:
    """Make a version of a SegFormer that was trained elsewhere, without training.

    Works on the service's own data, by its settings. Exits with 0 where the version is there, 1
    where the import failed, 2 where it is refused. With --url it is sent over HTTP and exits as
    `sats submit --wait` does, but with 0 where --no-promote has held the version.
    """
    need_client()
    if url is not None:
        wanted = {
            "create": create or None,
            "background": background,
            "features": features,
            "promote": promote,
        }
        _send(url, source, model, evaluate, wanted, output, allow_pickle=allow_pickle)
        return
    _say_that_nothing_is_sent()
    settings = get_settings()
    with database() as engine, ExitStack() as stack:
        if not create:
            _check_known(engine, model)
        incoming = settings.incoming_dir
        incoming.mkdir(exist_ok=True)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=incoming)))
        checkpoint = found(source, scratch / "hub", allow_pickle)
        spec = _spec(
            name=f"import {checkpoint.name}"[:200],
            model=model,
            create=create,
            background=background,
            features=features,
            promote=promote,
            source=checkpoint.name,
            allow_pickle=allow_pickle,
        )
        files = {CHECKPOINT: pack(checkpoint.directory, stack, scratch, allow_pickle)}
        if evaluate is not None:
            files[EVALUATE] = evaluate
        task = _queue(engine, settings, spec, files)
        stack.close()  # the files are stored; they need not lie here while the import runs
        last = follow(engine, task.id)
        print_task(last, output)
    if last.version is None:
        raise typer.Exit(FAILED)


def _say_that_nothing_is_sent() -> None:
    """Say so to whom asks a service elsewhere by other commands."""
    try:
        elsewhere = os.environ.get("SATS_URL", "").strip() or read_logins().default
    except LoginsError as error:
        typer.echo(f"sats: {printable(str(error))}", err=True)
        return
    if elsewhere:
        typer.echo(
            "sats: this works on the service's own data; --url, not SATS_URL or a login, sends it",
            err=True,
        )


def _send(
    url: str,
    source: str,
    model: str,
    evaluate: Path | None,
    wanted: Mapping[str, object],
    output: Form,
    *,
    allow_pickle: bool,
) -> None:
    if allow_pickle:
        raise refusal("--allow-pickle is for the service's own machine: no pickle is sent")
    given: dict[str, Any] = {key: one for key, one in wanted.items() if one is not None}
    with Scratch("import") as scratch:
        if not wanted["create"]:
            with service(url) as client:
                _check_there(client, model)
        with refusals():
            checkpoint = found(source, scratch / "hub", allow_pickle)
        with service(url) as client:
            with sending() as told:
                task = client.import_model(
                    checkpoint.directory,
                    model=model,
                    evaluate=evaluate,
                    name=f"import {checkpoint.name}"[:200],
                    source=checkpoint.name,
                    progress=told,
                    **given,
                )
            last = ended(task, output)
    held_as_asked = last.held and not wanted["promote"]
    raise typer.Exit(0 if held_as_asked else end_of(last))


def _check_there(client: "Client", model: str) -> None:
    """Refuse a model that the service does not have, before anything is fetched, packed or sent."""
    names = [one.name for one in client.overview().models]
    if names and model not in names:
        _check_reached(client, model)
        near = get_close_matches(model, names)
        meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
        raise refusal(f"there is no model {model!r}{meant} --create makes it", Exit.REFUSED)


def _check_reached(client: "Client", model: str) -> None:
    """Let the service refuse a key that is bound to other models: it hears of no other ones."""
    from sats_client import NotFound

    with suppress(NotFound):
        next(client.versions(model), None)


def _spec(**wanted: object) -> ImportSpec:
    try:
        return ImportSpec.model_validate(wanted)
    except ValidationError as error:
        raise refusal(invalid_fields(error.errors()).errors[0].message) from error


def _check_known(engine: Engine, model: str) -> None:
    try:
        with read_session(engine) as session:
            check_known(session, model, lambda _: True, "--model")
    except UnknownModelProblem as problem:
        raise refusal(f"{problem.detail}; here --create says so") from problem


def _queue(
    engine: Engine, settings: Settings, spec: ImportSpec, files: Mapping[str, Path]
) -> TaskJson:
    blobs = open_store(settings, engine)

    def make(stored: Mapping[str, Blob]) -> Submission:
        return Submission(spec, stored[CHECKPOINT], "", None, stored.get(EVALUATE))

    def check(staged: Mapping[str, Path]) -> None:
        if not spec.create:
            _check_known(engine, spec.model)
        check_import(engine, spec, staged[CHECKPOINT], staged.get(EVALUATE), settings.limits)
        check_task_fits(engine, settings, spec, staged[CHECKPOINT], staged.get(EVALUATE))

    with ExitStack() as stack:
        opened = {field: stack.enter_context(path.open("rb")) for field, path in files.items()}
        accepting = Acceptance(engine, blobs, settings.max_upload_bytes, command_actor())
        task, _replayed = accepting.accept(opened, make, check)
    celery = make_celery(settings)
    wake(celery, task.id)
    celery.close()
    return task
