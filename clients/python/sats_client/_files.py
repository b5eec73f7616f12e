"""Files on their way to a service, as httpx reads them."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

Told = Callable[[int, int], None]
"""Told of bytes that were sent, and of how many there are."""
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Upload:
    """A file of a form; opened anew for every try."""

    path: Path
    name: str
    told: Told | None = None


@dataclass(frozen=True)
class Piece:
    """Bytes of a file as the body of a request; read anew for every try."""

    path: Path
    offset: int
    size: int
    told: Told | None = None

    def __iter__(self) -> Iterator[bytes]:
        whole = self.path.stat().st_size
        with self.path.open("rb") as file:
            file.seek(self.offset)
            left = self.size
            while left and (chunk := file.read(min(_CHUNK, left))):
                left -= len(chunk)
                if self.told is not None:
                    self.told(file.tell(), whole)
                yield chunk

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the same to a client for asyncio."""
        for chunk in self:
            yield chunk


class Counted(FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, upload: Upload) -> None:
        super().__init__(upload.path)
        self._told = upload.told
        self._size = upload.path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and tell."""
        data = super().read(-1 if size is None else size) or b""
        if self._told is not None and data:
            self._told(self.tell(), self._size)
        return data
