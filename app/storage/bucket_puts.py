"""Bytes of a file on their way into a bucket: in one request, or in parts."""

import mmap
import os
from typing import BinaryIO

import obstore

from app.storage.bucket_client import Client
from app.storage.bucket_errors import told

PART_BYTES = 8 * 1024 * 1024
MOST_PARTS = 10_000
"""S3 puts no more together."""
PARTS_AT_ONCE = 4


def put_whole(client: Client, name: str, stream: BinaryIO) -> None:
    """Put a file's bytes where there is no object.

    Raises:
        AlreadyExistsError: there is one.
        BlobStoreDownError: they could not be put.
    """
    with told():
        obstore.put(client, name, _mapped(stream), mode="create")


def put_in_parts(client: Client, name: str, stream: BinaryIO, size: int) -> None:
    """Put what a stream has left there, in place of what is there; few parts are in memory.

    Args:
        client: of the bucket.
        name: of the object.
        stream: where the bytes come from.
        size: how many they may be.

    Raises:
        BlobStoreDownError: they could not be put.
    """
    with told():
        obstore.put(
            client,
            name,
            stream,
            use_multipart=True,
            chunk_size=max(PART_BYTES, -(-size // MOST_PARTS)),
            max_concurrency=PARTS_AT_ONCE,
        )


def _mapped(stream: BinaryIO) -> memoryview:
    """Return a file's bytes, which the kernel reads as they are sent."""
    if not os.fstat(stream.fileno()).st_size:
        return memoryview(b"")
    return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
