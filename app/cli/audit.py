"""`sats audit ...`."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Annotated, Any

import typer
from sqlalchemy.exc import SQLAlchemyError

from app.audit.guards import missing_triggers
from app.audit.schemas import entry_json
from app.audit.service import Action, Wanted, first_broken, list_entries
from app.cli.audit_gradients import gradients
from app.cli.common import database
from app.cli.completing import Command
from app.cli.printing import AsJson, Form, Output, Row, print_all, print_json
from app.db import read_session
from app.keys.secret import read_secret
from app.retirement.receipts import is_genuine, read_receipt
from app.settings import get_settings

audit = typer.Typer(help="See and check the audit log; receipts, gradients.", no_args_is_help=True)

BROKEN = 1
"""Exit status where an entry is not as it was written, or could be changed."""

audit.command("gradients")(gradients)


@audit.command("list", cls=Command)
def entries(
    action: Annotated[Action | None, typer.Option(help="Only what did this.")] = None,
    model: Annotated[str | None, typer.Option(help="Only what concerns this model.")] = None,
    limit: Annotated[int, typer.Option(help="Most entries.", min=1)] = 50,
    output: Output = Form.TABLE,
) -> None:
    """List who did what to what, the newest first."""
    with database() as engine, read_session(engine) as session:
        written = list_entries(session, Wanted(action=action, model=model), limit)
        found = [entry_json(entry).model_dump() for entry in written]
    print_all(found, output, _row, itemgetter("id"))


def _row(entry: Mapping[str, Any]) -> Row:
    who = entry["actor"]
    return {
        "id": entry["id"],
        "at": entry["at"],
        "action": entry["action"],
        "by": " ".join(filter(None, (who["type"], who["name"]))),
        "model": entry["model"],
        "what": entry["object"],
    }


@audit.command("receipt")
def receipt(
    file: Annotated[
        typer.FileText, typer.Argument(help="The receipt's JSON, or the version's; - is stdin.")
    ],
    as_json: AsJson = False,
) -> None:
    """Check that this service signed a receipt of what a retirement deleted, as it stands.

    Works on the service's own machine, with its secret.
    """
    try:
        found = read_receipt(file.read())
    except ValueError as error:
        typer.echo(f"this is no receipt: {error}", err=True)
        raise typer.Exit(BROKEN) from error
    with database() as engine:
        secret = read_secret(get_settings(), engine)
    if not is_genuine(secret, found):
        typer.echo("this service did not sign it, or it was changed since", err=True)
        raise typer.Exit(BROKEN)
    names = [one["name"] for one in found["classes"]]
    version = {"model": found["model"], "version": found["version"]}
    if as_json:
        print_json({"genuine": True, **version, "classes": names})
        return
    typer.echo(
        f"this service signed it, for version {found['version']} of {found['model']}: "
        f"{', '.join(names)}"
    )


@audit.command("verify")
def verify(as_json: AsJson = False) -> None:
    """Check every entry's hash, that none is missing between two, and what guards the log."""
    with database() as engine, read_session(engine) as session:
        try:
            broken = first_broken(session)
            missing = missing_triggers(session)
        except (ValueError, SQLAlchemyError) as error:
            typer.echo(f"the audit log cannot be read: {error}", err=True)
            raise typer.Exit(BROKEN) from error
    if as_json:
        whole = broken is None and not missing
        print_json({"whole": whole, "broken": broken, "missing": missing})
    if broken is not None:
        typer.echo(f"entry {broken} was changed, or one before it is missing", err=True)
        raise typer.Exit(BROKEN)
    if missing:
        typer.echo(f"what lets the log only grow does not stand: {', '.join(missing)}", err=True)
        raise typer.Exit(BROKEN)
    if not as_json:
        typer.echo("the audit log is whole")
