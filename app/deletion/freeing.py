"""Giving back the bytes of what was deleted, once its transaction is committed."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Engine

from app.db import Place, write_session
from app.deletion.service import Removal
from app.inference.ready_graphs import ReadyGraphs
from app.settings import Settings
from app.storage import BlobMissingError, BlobStore
from app.storage.references import delete_unreferenced


def free(
    engine: Engine, stores: Mapping[Place, BlobStore], settings: Settings, removal: Removal
) -> int:
    """Delete what nothing refers to any more; returns the bytes that were freed.

    A process that dies in here leaves garbage, which the collector finds. A work folder on another
    machine stays there: `sats doctor` finds it. A graph that another machine made ready to run
    stays there until it loads the next one.
    """
    freed = sum(_free(engine, stores[place], place, key) for place, key in set(removal.blobs))
    ready = ReadyGraphs.of(settings, stores[Place.BLOB_STORE])
    for _, key in removal.blobs:
        ready.forget(key)
    if removal.folder is not None:
        freed += _remove_folder(settings.work_dir / removal.folder)
    return freed


def _free(engine: Engine, store: BlobStore, place: Place, key: str) -> int:
    size = 0
    with suppress(BlobMissingError):
        size = store.size(key)
    with write_session(engine) as session:
        return size if delete_unreferenced(session, store, place, key) else 0


def _remove_folder(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.lstat().st_size if path.is_file() else 0
    shutil.rmtree(folder, ignore_errors=True)
    return size
