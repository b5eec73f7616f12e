"""`sats export`: a version's files, out of the service's own blob store."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.calling import model_and_number
from app.cli.common import database
from app.cli.refusing import refusal
from app.db import read_session
from app.registry.files import lay_out
from app.registry.service import served_version
from app.settings import get_settings
from app.storage import open_store


def export(
    version: Annotated[
        str, typer.Argument(metavar="MODEL[@N]", help="The model, and its version if not the live.")
    ],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty directory.")],
) -> None:
    """Write a version's files to a new directory, every byte checked."""
    name, number = model_and_number(version)
    with database() as engine:
        with read_session(engine) as session:
            found = served_version(session, name, number)
        try:
            lay_out(open_store(get_settings()), found, directory)
        except (OSError, RuntimeError) as error:  # a file in the way, a loop of links, no right
            raise refusal(f"{directory} cannot be written: {error}") from error
        typer.echo(f"version {found.number} of {name!r}: {len(found.files)} files in {directory}")
