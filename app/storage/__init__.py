"""Blobs by content: a blob's key is the SHA-256 of its bytes, so it never changes."""

from app.storage.base import BlobStore
from app.storage.blobs import Blob, Entry, StagedBlob
from app.storage.errors import (
    BlobDamagedError,
    BlobMissingError,
    BlobRefusedError,
    BlobStoreDownError,
    SentInVainError,
    TooLargeError,
)
from app.storage.local import LocalBlobStore
from app.storage.opening import open_memory, open_store

__all__ = [
    "Blob",
    "BlobDamagedError",
    "BlobMissingError",
    "BlobRefusedError",
    "BlobStore",
    "BlobStoreDownError",
    "Entry",
    "LocalBlobStore",
    "SentInVainError",
    "StagedBlob",
    "TooLargeError",
    "open_memory",
    "open_store",
]
