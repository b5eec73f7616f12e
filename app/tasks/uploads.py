"""What was posted with tasks: kept while a task needs it, and not longer."""

from collections.abc import Iterable

from sqlalchemy import Engine

from app.db import Place, write_session
from app.storage import BlobStore
from app.storage.references import delete_unreferenced


def drop_uploads(engine: Engine, blobs: BlobStore, keys: Iterable[str]) -> None:
    """Delete what an ended task was posted with, but what somebody else needs."""
    for key in keys:
        with write_session(engine) as session:
            delete_unreferenced(session, blobs, Place.BLOB_STORE, key)
