"""`sats export`: a version's files, of the service's own blob store or of a running service."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.calling import Exit, model_and_number, service
from app.cli.common import database
from app.cli.printing import AsJson, Row, print_json
from app.cli.refusing import refusal
from app.db import read_session
from app.registry.files import lay_out
from app.registry.service import served_version
from app.settings import get_settings
from app.storage import open_store
from sats_core.data.names import printable

if TYPE_CHECKING:
    from sats_client.models import File


def export(
    version: Annotated[
        str, typer.Argument(metavar="MODEL[@N]", help="The model, and its version if not the live.")
    ],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty directory.")],
    url: Annotated[
        str | None,
        typer.Option(
            help="A running service to take it from. SATS_API_KEY is the key, else the one that "
            "`sats login` keeps for it."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a version's files to a new directory, every byte checked.

    They are those of the service's data on this machine, with --url those of a running service;
    what was cut off there goes on in the same directory.
    """
    name, number = model_and_number(version)
    if url is None:
        found, files = _lay_out(name, number, directory)
    else:
        found, files = _fetch(url, name, number, directory)
    if as_json:
        written = {"model": name, "version": found, "directory": str(directory)}
        print_json({**written, "files": files})
    else:
        typer.echo(f"version {found} of {name!r}: {len(files)} files in {directory}")


def _lay_out(name: str, number: int | None, directory: Path) -> tuple[int, Sequence[Row]]:
    """Write files out of the service's own store; return the version's number and what they are."""
    with database() as engine:
        with read_session(engine) as session:
            found = served_version(session, name, number)
        try:
            lay_out(open_store(get_settings(), engine), found, directory)
        except (OSError, RuntimeError) as error:  # a file in the way, a loop of links, no right
            raise refusal(f"{directory} cannot be written: {error}") from error
    return found.number, [
        {"name": file, "bytes": stored["bytes"], "sha256": stored["blob"]}
        for file, stored in found.files.items()
    ]


def _fetch(url: str, name: str, number: int | None, directory: Path) -> tuple[int, Sequence[Row]]:
    """Fetch them from a running service; as `_lay_out`."""
    with service(url) as client:
        found = client.version(name, number or client.live(name).version)
        if found.deleted_at is not None:
            raise refusal(f"version {found.number} was deleted", Exit.REFUSED)
        _check_alone(directory, found.files)
        client.export(name, found.number, directory)
    return found.number, [
        {"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in found.files
    ]


def _check_alone(directory: Path, files: "Iterable[File]") -> None:
    """Refuse a directory in which something else lies than these files, or the start of one.

    Every version's files have the same names: of one that is there its bytes are looked at.
    """
    known = {file.name: file for file in files}
    begun = {f"{name}.part" for name in known}
    there = directory.iterdir() if directory.is_dir() else ()
    for path in there:
        if path.name in begun:
            continue
        if path.name not in known:
            raise refusal(f"{directory} holds something else: {printable(path.name)}")
        if not _is_whole(path, known[path.name]):
            raise refusal(f"{directory} holds another {path.name} than this version's")


def _is_whole(path: Path, file: "File") -> bool:
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest() == file.sha256
