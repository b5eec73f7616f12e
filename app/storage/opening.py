"""Which stores a process's settings name."""

from collections.abc import Callable, Collection
from functools import partial

from sqlalchemy import Engine

from app.db import Place
from app.settings import Settings
from app.storage.base import BlobStore
from app.storage.cache import BlobCache
from app.storage.local import LocalBlobStore
from app.storage.references import known


def open_store(settings: Settings, engine: Engine | None) -> BlobStore:
    """Return the blob store of a process's settings; a bucket is not asked anything yet.

    Of a directory without `incoming/` the database is asked what lies there. Where it does not
    answer the store is down for now, and asks again.

    Args:
        settings: of the process.
        engine: the database, which tells a directory that is new from one that is not mounted;
            None: whatever is there is taken as it is.
    """
    if settings.store_url is None:
        return LocalBlobStore(settings.blob_dir, _known(engine, Place.BLOB_STORE))
    # Imported where it is used: its library takes memory that a local directory does not need.
    from app.storage.bucket import Bucket
    from app.storage.object_parts import ObjectParts
    from app.storage.objects import ObjectBlobStore

    cache = BlobCache(
        settings.blob_cache_dir,
        settings.blob_cache_bytes,
        settings.keep_free_bytes,
        patience=settings.store_seconds,
    )
    bucket = Bucket.of(settings, settings.store_url)
    parts = ObjectParts(bucket, direct=settings.upload_to_store)
    return ObjectBlobStore(bucket, parts, cache, settings.staging_dir)


def open_memory(settings: Settings, engine: Engine | None) -> BlobStore | None:
    """Return the folder of its own that replay pictures lie in; None: they have none.

    Args:
        settings: of the process.
        engine: as of `open_store`.
    """
    if settings.memory_dir is None:
        return None
    return LocalBlobStore(settings.memory_dir, _known(engine, Place.MEMORY_FOLDER))


def _known(engine: Engine | None, place: Place) -> Callable[[], Collection[str]]:
    return tuple if engine is None else partial(known, engine, place)
