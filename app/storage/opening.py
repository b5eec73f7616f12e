"""Which store a process's settings name."""

from app.settings import Settings
from app.storage.base import BlobStore
from app.storage.cache import BlobCache
from app.storage.local import LocalBlobStore


def open_store(settings: Settings) -> BlobStore:
    """Return the blob store of a process's settings. Nothing is asked of it yet."""
    if settings.store_url is None:
        return LocalBlobStore(settings.blob_dir)
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
