"""`sats gc`: garbage collection by hand."""

from collections.abc import Sequence
from typing import Annotated

import typer

from app.cli.common import database
from app.cli.refusing import refusal
from app.settings import get_settings
from app.storage import BlobStoreDownError, open_store
from app.storage.garbage import Collector, Garbage


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")
    ] = False,
) -> None:
    """Remove blobs that nothing refers to and writes that never ended.

    Workers do the same now and then; SATS_GC_GRACE_SECONDS says how old such a file must be.
    """
    settings = get_settings()
    with database() as engine:
        collector = Collector.of(engine, open_store(settings), settings)
        try:
            found = collector.find()
            done = ("would remove", found) if dry_run else ("removed", collector.remove(found))
        except BlobStoreDownError as error:
            raise refusal(f"the blob store cannot be read: {error.strerror}") from error
    _say(*done)


def _say(done: str, garbage: Sequence[Garbage]) -> None:
    for one in garbage:
        kind = "blob" if one.is_blob else "unfinished write"
        typer.echo(f"{done} {kind} {one.entry.name} ({one.entry.size} bytes, {one.place})")
    total = sum(one.entry.size for one in garbage)
    typer.echo(f"{done} {len(garbage)} files, {total} bytes")
