"""Parts of large uploads in a bucket, to which they go past the service where clients reach it."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from app.storage.blobs import Entry
from app.storage.bucket import Bucket
from app.storage.parts import PARTS, Address, PartStore


class ObjectParts(PartStore):
    """Objects `parts/<upload>/<number>`.

    The library signs no parts of S3's own multipart uploads, and the other stores have others: so
    each part is an object, put whole, and what is signed is the same everywhere.

    Args:
        bucket: where they lie.
        direct: whether clients may be sent there.
    """

    def __init__(self, bucket: Bucket, *, direct: bool) -> None:
        self._bucket = bucket
        self._direct = direct

    def addresses(
        self, upload: str, numbers: Sequence[int], seconds: float
    ) -> list[Address] | None:
        """See `PartStore.addresses`."""
        if not self._direct:
            return None
        names = [_name(upload, number) for number in numbers]
        headers = self._bucket.put_headers
        return [Address(url, headers) for url in self._bucket.put_urls(names, seconds)]

    def put(self, upload: str, number: int, stream: BinaryIO) -> None:
        """See `PartStore.put`."""
        self._bucket.replace(_name(upload, number), stream)

    def sizes(self, upload: str) -> dict[int, int]:
        """See `PartStore.sizes`."""
        names = ((one.name.rpartition("/")[2], one.size) for one in self._entries(upload))
        return {int(name): size for name, size in names if name.isdecimal()}

    def read(self, upload: str, number: int) -> Iterator[bytes]:
        """See `PartStore.read`."""
        yield from self._bucket.read(_name(upload, number)).chunks

    def remove(self, upload: str) -> None:
        """See `PartStore.remove`."""
        for entry in list(self._entries(upload)):
            self._bucket.delete(entry.name)

    def left(self) -> Iterator[Entry]:
        """See `PartStore.left`."""
        found: dict[str, Entry] = {}
        for entry in self._bucket.entries(PARTS):
            name = entry.name.rpartition("/")[0]
            one = found.get(name, Entry(name, 0, 0.0))
            last = max(one.modified, entry.modified)
            found[name] = Entry(name, one.size + entry.size, last)
        yield from found.values()

    def _entries(self, upload: str) -> Iterator[Entry]:
        return self._bucket.entries(f"{PARTS}{upload}/")


def _name(upload: str, number: int) -> str:
    return f"{PARTS}{upload}/{number}"
