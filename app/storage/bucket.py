"""A bucket of an object store, its errors told in this package's own words."""

import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, InvalidPathError
from obstore.store import AzureStore

from app.settings import Settings
from app.storage.base import CHUNK_BYTES
from app.storage.blobs import Entry
from app.storage.bucket_client import TRANSFER_SECONDS, Client, client_of
from app.storage.bucket_errors import REFUSALS, short, told, told_but
from app.storage.cache import Download
from app.storage.errors import BlobMissingError, BlobRefusedError, BlobStoreDownError

WHOLE_BYTES = 64 * 1024 * 1024
"""What is not larger is put in one request."""
PART_BYTES = 8 * 1024 * 1024
MOST_PARTS = 10_000
"""S3 puts no more together."""
COPIED_BYTES = 5 * 1024**3
"""S3 copies no more in one piece."""
PARTS_AT_ONCE = 4
INCOMING = "incoming/"
"""What begins so is on its way to another name."""
PROBE = "probe"


class Bucket:
    """Objects by name, below a prefix. Each is there whole or not at all, and none is overwritten.

    Args:
        client: of the library, for the bucket and the prefix.
        probe: the same with little patience.
        signer: the same as clients reach it.
    """

    def __init__(self, client: Client, probe: Client, signer: Client) -> None:
        self._client = client
        self._probe = probe
        self._signer = signer

    @classmethod
    def of(
        cls,
        settings: Settings,
        url: str,
        named_by: str = "SATS_STORE_URL",
        transfer_seconds: float = TRANSFER_SECONDS,
    ) -> "Bucket":
        """Return the bucket of a URL, with what the settings say of such buckets.

        Raises:
            ValueError: the library cannot make anything of it; says which setting named it.
        """
        try:
            patient = client_of(settings, url, patient=True, lasts=transfer_seconds)
            signer = client_of(
                settings, url, patient=False, endpoint=settings.store_public_endpoint
            )
            return cls(patient, client_of(settings, url, patient=False), signer)
        except BaseError:  # it may say what is secret
            why = f"{named_by}: {url} cannot be opened with the keys that SATS_STORE_... name"
            raise ValueError(f"{why}, or the provider's own variables") from None

    def size(self, name: str) -> int:
        """Return an object's bytes.

        Raises:
            BlobMissingError: no such object.
            BlobStoreDownError: nobody can tell.
        """
        with _told_of(self._client, name):
            return obstore.head(self._client, name)["size"]

    def size_soon(self, name: str) -> int:
        """Do the same within some seconds, for whoever holds locks."""
        with _told_of(self._probe, name):
            return obstore.head(self._probe, name)["size"]

    def find(self, name: str) -> int | None:
        """Return an object's bytes; None: there is no such object, or no such bucket.

        Raises:
            BlobStoreDownError: nobody can tell.
        """
        with told(), suppress(FileNotFoundError):
            return obstore.head(self._client, name)["size"]
        return None

    def read(self, name: str) -> Download:
        """Begin to read an object; the chunks raise BlobStoreDownError where they are cut off.

        Raises:
            BlobMissingError: no such object.
            BlobStoreDownError: nobody can tell.
        """
        with _told_of(self._client, name):
            found = obstore.get(self._client, name)
            return Download(found.meta["size"], _chunks(found))

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """Return some of an object's bytes.

        Raises:
            BlobMissingError: no such object.
            BlobStoreDownError: nobody can tell.
        """
        with _told_of(self._client, name):
            return bytes(obstore.get_range(self._client, name, start=start, length=size))

    def read_as_guest(self, name: str) -> Download:
        """As `read`, in a bucket of others, where to get objects may be the one right we have.

        Raises:
            BlobMissingError: no such object, or no such bucket.
            BlobRefusedError: it may not be read, or is not there: who may not list is not told.
            BlobStoreDownError: nobody can tell.
        """
        try:
            with told_but(FileNotFoundError, InvalidPathError, *REFUSALS):
                found = obstore.get(self._client, name)
                return Download(found.meta["size"], _chunks(found))
        except (FileNotFoundError, InvalidPathError) as error:
            raise BlobMissingError(name) from error
        except REFUSALS as error:
            raise BlobRefusedError(short(error)) from error

    def create(self, name: str, path: Path, size: int) -> int:
        """Put a file's bytes there, unless there is an object of that name: then that one stays.

        Returns the bytes of the object that is there.

        What is large is put under another name, in parts of which few are in memory, and copied to
        its own if there is none: the library puts no parts conditionally. What is larger than can
        be copied is put under its own name, where there was none just before.

        Raises:
            BlobStoreDownError: they could not be put.
        """
        try:
            with told():
                if size <= WHOLE_BYTES:
                    obstore.put(self._client, name, _mapped(path), mode="create")
                elif size <= COPIED_BYTES:
                    self._create_in_parts(name, path)
                else:
                    there = self.find(name)
                    if there is not None:
                        return there
                    self._put_in_parts(name, path, size)
        except AlreadyExistsError:
            return self._other(name)
        return size

    def replace(self, name: str, stream: BinaryIO) -> None:
        """Put bytes there, in place of what is there; few of them are in memory.

        Raises:
            BlobStoreDownError: they could not be put.
        """
        with told():
            self._put_in_parts(name, stream, COPIED_BYTES)

    def put_urls(self, names: Sequence[str], seconds: float) -> Sequence[str]:
        """Return URLs by which anybody may put objects of these names, for so long.

        Raises:
            BlobStoreDownError: nothing can be signed now.
        """
        with told():
            return obstore.sign(self._signer, "PUT", list(names), timedelta(seconds=seconds))

    @property
    def put_headers(self) -> dict[str, str]:
        """What a request to one of those URLs must say."""
        return {"x-ms-blob-type": "BlockBlob"} if isinstance(self._signer, AzureStore) else {}

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error.

        Raises:
            BlobStoreDownError: it could not be removed.
        """
        _delete(self._client, name)

    def delete_soon(self, name: str) -> None:
        """Do the same within some seconds, for whoever holds locks."""
        _delete(self._probe, name)

    def entries(self, begin: str | None = None) -> Iterator[Entry]:
        """Yield every object, or those whose name begins with a folder, by its name.

        Raises:
            BlobStoreDownError: they cannot be listed.
        """
        with told():
            for found in obstore.list(self._client, begin, chunk_size=1000):
                for meta in found:
                    yield Entry(meta["path"], meta["size"], meta["last_modified"].timestamp())

    def try_to_write(self) -> None:
        """Write a small object that means nothing; it takes some seconds at most.

        Raises:
            BlobRefusedError: it may not be written.
            BlobStoreDownError: it could not be written.
        """
        try:
            with told_but(*REFUSALS):
                obstore.put(self._probe, PROBE, b"ready", use_multipart=False)
        except REFUSALS as error:
            raise BlobRefusedError(short(error)) from error

    def _create_in_parts(self, name: str, path: Path) -> None:
        incoming = f"{INCOMING}{uuid4().hex}"
        try:
            self._put_in_parts(incoming, path, COPIED_BYTES)
            obstore.copy(self._client, incoming, name, overwrite=False)
        finally:
            with suppress(BaseError, OSError):  # what stays is the collector's
                obstore.delete(self._probe, incoming)

    def _put_in_parts(self, name: str, source: Path | BinaryIO, size: int) -> None:
        obstore.put(
            self._client,
            name,
            source,
            use_multipart=True,
            chunk_size=max(PART_BYTES, -(-size // MOST_PARTS)),
            max_concurrency=PARTS_AT_ONCE,
        )

    def _other(self, name: str) -> int:
        """Return the bytes of what others put: of two that do so at once, both may lose."""
        try:
            return self.size(name)
        except BlobMissingError as error:
            raise BlobStoreDownError(errno.EAGAIN, f"{name} is being put by others") from error


def _delete(client: Client, name: str) -> None:
    with suppress(BlobMissingError), _told_of(client, name):
        obstore.delete(client, name)


@contextmanager
def _told_of(client: Client, name: str) -> Iterator[None]:
    """As `told`, but where the bucket is there and an object is not, that one is missing."""
    try:
        yield
    except FileNotFoundError as error:
        with told():  # no bucket is no object either
            next(iter(obstore.list(client, INCOMING)), None)
        raise BlobMissingError(name.rpartition("/")[2]) from error
    except (BaseError, OSError) as error:
        raise BlobStoreDownError(errno.EIO, short(error)) from error


def _mapped(path: Path) -> memoryview:
    """Return a file's bytes, which the kernel reads as they are sent."""
    with path.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def _chunks(found: "obstore.GetResult") -> Iterator[bytes]:
    with told():
        yield from found.stream(min_chunk_size=CHUNK_BYTES)
