"""`sats audit ...`."""

import typer
from sqlalchemy.exc import SQLAlchemyError

from app.audit.guards import missing_triggers
from app.audit.service import first_broken
from app.cli.common import database
from app.db import read_session

audit = typer.Typer(help="Check the audit log.", no_args_is_help=True)

BROKEN = 1
"""Exit status where an entry is not as it was written, or could be changed."""


@audit.command("verify")
def verify() -> None:
    """Check every entry's hash, that none is missing between two, and what guards the log."""
    with database() as engine, read_session(engine) as session:
        try:
            broken = first_broken(session)
            missing = missing_triggers(session)
        except (ValueError, SQLAlchemyError) as error:
            typer.echo(f"the audit log cannot be read: {error}", err=True)
            raise typer.Exit(BROKEN) from error
    if broken is not None:
        typer.echo(f"entry {broken} was changed, or one before it is missing", err=True)
        raise typer.Exit(BROKEN)
    if missing:
        typer.echo(f"what lets the log only grow does not stand: {', '.join(missing)}", err=True)
        raise typer.Exit(BROKEN)
    typer.echo("the audit log is whole")
