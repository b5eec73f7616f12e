"""Where a store under test keeps its blobs, and how its bytes are broken behind its back."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore

from app.settings import Settings
from app.storage import BlobStore, LocalBlobStore, open_store
from tests.fixtures.s3 import S3Server


class Place(ABC):
    """Somewhere that hosts keep blobs together."""

    @abstractmethod
    def host(self, **changes: Any) -> BlobStore:
        """Return the store as another host sees it, which has nothing of its own yet."""

    @abstractmethod
    def overwrite(self, key: str, data: bytes) -> None:
        """Change what lies under a key."""

    @abstractmethod
    def add(self, name: str) -> None:
        """Put a stranger's bytes there."""

    @abstractmethod
    def leave_unfinished(self, store: BlobStore, name: str) -> None:
        """Leave what a write of `store` leaves that never ends."""


class Directory(Place):
    def __init__(self, folder: Path) -> None:
        self.root = folder / "blobs"

    def host(self, **changes: Any) -> BlobStore:
        return LocalBlobStore(self.root)

    def overwrite(self, key: str, data: bytes) -> None:
        (self.root / key[:2] / key).write_bytes(data)

    def add(self, name: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")

    def leave_unfinished(self, store: BlobStore, name: str) -> None:
        (self.root / "incoming" / name).write_bytes(b"half")


class S3Prefix(Place):
    def __init__(self, server: S3Server, folder: Path, endpoint: str | None = None) -> None:
        self.prefix = uuid4().hex
        self.client = server.client(self.prefix)
        self._given = server.settings(self.prefix, endpoint)
        self._folder = folder

    def settings(self, **changes: Any) -> Settings:
        """Return the settings of another host."""
        given: dict[str, Any] = {"store_seconds": 5.0, **self._given}
        return Settings(data_dir=self._folder / uuid4().hex, keep_free_bytes=0, **given | changes)

    def host(self, **changes: Any) -> BlobStore:
        return open_store(self.settings(**changes), None)

    def names(self) -> set[str]:
        """Return the name of every object."""
        return {meta["path"] for found in obstore.list(self.client) for meta in found}

    def overwrite(self, key: str, data: bytes) -> None:
        self.add(f"{key[:2]}/{key}", data)

    def add(self, name: str, data: bytes = b"mine") -> None:
        obstore.put(self.client, name, data, use_multipart=False)

    def leave_unfinished(self, store: BlobStore, name: str) -> None:
        self.add(f"incoming/{name}", b"half")
