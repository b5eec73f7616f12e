"""A data set in a directory."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sats_core.data.sources.base import Source, fault_of, found_in, named
from sats_core.errors import DatasetError
from sats_core.settings import Limits


class DirectorySource(Source):
    """A directory. Links are followed only where they stay inside it.

    Raises:
        DatasetError: not a directory, too many files or bytes, or a link that leads out.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(limits)
        if not path.is_dir():
            raise DatasetError("the data set is not a directory")
        self.path = path.resolve()
        files = [Path(top, name) for top, _, names in os.walk(self.path) for name in names]
        if len(files) > limits.max_entries:
            raise DatasetError(f"the directory has more than {limits.max_entries} files")
        self._members = named(
            files, lambda file: file.relative_to(self.path).as_posix(), self._fault
        )
        if sum(file.stat().st_size for file in files) > limits.max_unpacked_bytes:
            raise DatasetError(f"the directory has more than {limits.max_unpacked_bytes} bytes")

    def names(self) -> Sequence[str]:
        """See `Source.names`."""
        return tuple(self._members)

    def size(self, name: str) -> int:
        """See `Source.size`."""
        file = found_in(self._members, name)
        try:
            return file.stat().st_size
        except OSError as error:
            raise fault_of("cannot be read", name, "unreadable") from error

    def read(self, name: str, most: int | None = None) -> bytes:
        """See `Source.read`."""
        file = found_in(self._members, name)
        try:
            self._check_size(name, file.stat().st_size, most)
            return file.read_bytes()
        except OSError as error:
            raise fault_of("cannot be read", name, "unreadable") from error

    @contextmanager
    def stream(self, name: str) -> Iterator[BinaryIO]:
        """See `Source.stream`."""
        file = found_in(self._members, name)
        try:
            self._check_size(name, file.stat().st_size)
            with file.open("rb") as opened:
                yield opened
        except OSError as error:
            raise fault_of("cannot be read", name, "unreadable") from error

    def close(self) -> None:
        """See `Source.close`; nothing stays open between reads."""

    def _fault(self, file: Path) -> str | None:
        target = file.resolve()
        if not target.is_relative_to(self.path):
            return "a link that leads out of the data set"
        return None if target.is_file() else "not a regular file"
