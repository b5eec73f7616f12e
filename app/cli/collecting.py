"""`sats gc`: garbage collection by hand."""

from collections.abc import Sequence
from typing import Annotated

import typer

from app.cli.common import database
from app.cli.printing import AsJson, Row, print_json
from app.cli.refusing import refusal
from app.settings import get_settings
from app.storage import BlobStoreDownError, open_store
from app.storage.garbage import Collector, Garbage


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove blobs that nothing refers to and writes that never ended.

    Workers do the same now and then; SATS_GC_GRACE_SECONDS says how old such a file must be.
    """
    settings = get_settings()
    with database() as engine:
        collector = Collector.of(engine, open_store(settings, engine), settings)
        try:
            found = collector.find()
            done = found if dry_run else collector.remove(found)
        except BlobStoreDownError as error:
            raise refusal(f"the blob store cannot be read: {error.strerror}") from error
    if as_json:
        print_json({"removed": not dry_run, "bytes": _bytes(done), "files": list(map(_told, done))})
    else:
        _say("would remove" if dry_run else "removed", done)


def _say(done: str, garbage: Sequence[Garbage]) -> None:
    for one in garbage:
        typer.echo(f"{done} {_kind(one)} {one.entry.name} ({one.entry.size} bytes, {one.place})")
    typer.echo(f"{done} {len(garbage)} files, {_bytes(garbage)} bytes")


def _told(one: Garbage) -> Row:
    said = {"kind": _kind(one), "name": one.entry.name, "bytes": one.entry.size}
    return {**said, "place": str(one.place)}


def _kind(one: Garbage) -> str:
    return "blob" if one.is_blob else "unfinished write"


def _bytes(garbage: Sequence[Garbage]) -> int:
    return sum(one.entry.size for one in garbage)
