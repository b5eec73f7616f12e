"""A bucket of an object store, its errors told in this package's own words."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import BinaryIO
from uuid import uuid4

import obstore
import structlog
from obstore.exceptions import AlreadyExistsError, BaseError, InvalidPathError
from obstore.store import AzureStore

from app.settings import Settings
from app.storage.base import CHUNK_BYTES
from app.storage.blobs import Entry
from app.storage.bucket_client import TRANSFER_SECONDS, Client, client_of
from app.storage.bucket_errors import REFUSALS, short, told, told_but
from app.storage.bucket_puts import PART_BYTES, put_in_parts, put_whole
from app.storage.cache import Download
from app.storage.errors import BlobMissingError, BlobRefusedError, BlobStoreDownError

WHOLE_BYTES = 512 * 1024 * 1024
"""What is not larger is put in one request, if the line lets it end in time."""
COPIED_BYTES = 5 * 1024**3
"""S3 copies no more in one piece."""
COPY_SECONDS = 900.0
"""How long a bucket may say nothing while it copies that much."""
INCOMING = "incoming/"
"""What begins so is on its way to another name."""
PROBE = "probe"

log = structlog.get_logger(__name__)


class Bucket:
    """Objects by name, below a prefix. Each is there whole or not at all, and none is overwritten.

    Args:
        client: of the library, for the bucket and the prefix.
        copier: the same for what the bucket copies, in silence for as long as that takes.
        probe: the same with little patience.
        signer: the same as clients reach it.
    """

    def __init__(self, client: Client, copier: Client, probe: Client, signer: Client) -> None:
        self._client = client
        self._copier = copier
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
            copier = client_of(settings, url, patient=True, silent=COPY_SECONDS)
            signer = client_of(
                settings, url, patient=False, endpoint=settings.store_public_endpoint
            )
            return cls(patient, copier, client_of(settings, url, patient=False), signer)
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

    def create(self, name: str, stream: BinaryIO, size: int) -> int:
        """Put a file's bytes there, unless there is an object of that name: then that one stays.

        Returns the bytes of the object that is there.

        What is large is put under another name, in parts of which few are in memory, and copied to
        its own if there is none: the library puts no parts conditionally. What is larger than can
        be copied is put under its own name, where there was none just before.

        Raises:
            BlobStoreDownError: they could not be put.
        """
        try:
            if size <= WHOLE_BYTES and self._created_whole(name, stream, size):
                return size
            stream.seek(0)
            if size <= COPIED_BYTES:
                self._create_in_parts(name, stream)
            else:
                there = self.find(name)
                if there is not None:
                    return there
                put_in_parts(self._client, name, stream, size)
        except AlreadyExistsError:
            return self._other(name)
        return size

    def replace(self, name: str, stream: BinaryIO) -> None:
        """Put bytes there, in place of what is there; few of them are in memory.

        Raises:
            BlobStoreDownError: they could not be put.
        """
        put_in_parts(self._client, name, stream, COPIED_BYTES)

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

    def _created_whole(self, name: str, stream: BinaryIO, size: int) -> bool:
        """Put a file's bytes in one request; return whether the line was fast enough for it.

        The library takes a store for silent as long as bytes go to it.
        """
        try:
            put_whole(self._client, name, stream)
        except BlobStoreDownError as error:
            if size <= PART_BYTES:
                raise
            with suppress(BlobMissingError):
                self.size_soon(name)  # raises where it is the store that is silent
                raise AlreadyExistsError(name) from error
            log.warning("blob_not_put_at_once", blob=name, bytes=size, error=error.strerror)
            return False
        return True

    def _create_in_parts(self, name: str, stream: BinaryIO) -> None:
        incoming = f"{INCOMING}{uuid4().hex}"
        try:
            put_in_parts(self._client, incoming, stream, COPIED_BYTES)
            with told():
                obstore.copy(self._copier, incoming, name, overwrite=False)
        finally:
            with suppress(BaseError, OSError):  # what stays is the collector's
                obstore.delete(self._probe, incoming)

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


def _chunks(found: "obstore.GetResult") -> Iterator[bytes]:
    with told():
        yield from found.stream(min_chunk_size=CHUNK_BYTES)
