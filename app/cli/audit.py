"""`sats audit ...`."""

import typer
from sqlalchemy.exc import SQLAlchemyError

from app.audit.service import first_broken
from app.cli.common import database
from app.db import read_session

audit = typer.Typer(help="Check the audit log.", no_args_is_help=True)

BROKEN = 1
"""Exit status where an entry is not as it was written."""


@audit.command("verify")
def verify() -> None:
    """Check every entry's hash, and that none is missing between two."""
    with database() as engine, read_session(engine) as session:
        try:
            broken = first_broken(session)
        except (ValueError, SQLAlchemyError) as error:
            typer.echo(f"the audit log cannot be read: {error}", err=True)
            raise typer.Exit(BROKEN) from error
    if broken is not None:
        typer.echo(f"entry {broken} was changed, or one before it is missing", err=True)
        raise typer.Exit(BROKEN)
    typer.echo("the audit log is whole")
