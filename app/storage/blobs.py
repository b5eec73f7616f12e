"""What a store holds, and what is on its way into it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Blob:
    """A stored blob: its key (hex SHA-256) and size in bytes."""

    key: str
    size: int


def _nothing() -> None:
    """Do nothing: another of the steps does it all, or is quick enough."""


@dataclass(frozen=True)
class StagedBlob:
    """Bytes that are on disk and checksummed, but in the store only once they are published.

    Attributes:
        blob: what they will be.
        path: a local file that holds them, of those of `BlobStore.stage` one that nobody else
            knows; a file of `stage_file` may be replaced meanwhile. None: they are in the store
            already.
        publish: puts them in the store, whether or not the blob is there already. Whoever adds a
            row that refers to the blob does it in that row's transaction
            (`app.storage.references.lock_blobs`), so that nothing can delete it in between.
        send: does beforehand, outside of any transaction, what of the publishing takes long. What
            is sent and not published is garbage, for the collector.
        confirm: sees, in that transaction and before any row is locked, that what was sent is still
            there; takes seconds at most. Raises SentInVainError: it is not.
    """

    blob: Blob
    path: Path | None
    publish: Callable[[], None] = _nothing
    send: Callable[[], None] = _nothing
    confirm: Callable[[], None] = _nothing


@dataclass(frozen=True)
class Entry:
    """One file of a store.

    Attributes:
        name: a blob's key, or what the store calls a write that has not ended.
        size: bytes.
        modified: when it was written last, seconds since 1970.
    """

    name: str
    size: int
    modified: float
