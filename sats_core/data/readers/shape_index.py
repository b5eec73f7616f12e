"""Shapes of many pictures in one annotation file, read once into an index on disk."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from sats_core.data.names import printable
from sats_core.data.readers.disk_index import DiskIndex

_SCHEMA = """
CREATE TABLE pictures (file INTEGER, number INTEGER, part INTEGER, name TEXT, height INTEGER,
    width INTEGER, split TEXT);
CREATE TABLE shapes (file INTEGER, number INTEGER, part INTEGER, called TEXT, level REAL,
    kind TEXT, body BLOB);
"""
_MOST_KINDS = 20
_INDEX = "CREATE INDEX shapes_by_picture ON shapes (file, number, part)"


class Named(NamedTuple):
    """A class that an annotation file declares."""

    name: str


class Pictured(NamedTuple):
    """A picture that it lists; `part` is the one of its annotations that counts."""

    number: int
    part: int
    name: str
    height: int | None
    width: int | None
    split: str | None


class Shape(NamedTuple):
    """One shape; of a picture's shapes the one with the higher level, then the later, is on top."""

    number: int
    part: int
    called: str
    level: float
    kind: str
    body: str | bytes


class Ignored(NamedTuple):
    """Something that is not read, such as a box, by its kind."""

    kind: str


Said: TypeAlias = Named | Pictured | Shape | Ignored


def count_ignored(ignored: Counter[str], kind: str) -> None:
    """Count one more thing that is not read; beyond some kinds all are `others`."""
    kind = printable(kind[:50])
    ignored[kind if kind in ignored or len(ignored) < _MOST_KINDS else "others"] += 1


class ShapeIndex(DiskIndex):
    """Pictures and shapes of some annotation files.

    Attributes:
        files: their names.
        declared: classes that they declare, in order.
        ignored: how many things of each kind are not read.
    """

    def __init__(
        self,
        files: Sequence[str],
        said: Callable[[str], Iterator[Said]],
    ) -> None:
        """Read the files; `said` yields what one of them says.

        Raises:
            Exception: what `said` raises.
        """
        super().__init__()
        self.files = tuple(files)
        self.declared: list[str] = []
        self.ignored: Counter[str] = Counter()
        with self._filling() as database:
            database.executescript(_SCHEMA)
            for number, file in enumerate(files):
                for one in said(file):
                    self._add(database, number, one)
            database.execute(_INDEX)

    def _add(self, database: sqlite3.Connection, file: int, one: Said) -> None:
        if isinstance(one, Shape):
            database.execute("INSERT INTO shapes VALUES (?, ?, ?, ?, ?, ?, ?)", (file, *one))
        elif isinstance(one, Pictured):
            database.execute("INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?)", (file, *one))
        elif isinstance(one, Ignored):
            count_ignored(self.ignored, one.kind)
        elif one.name not in self.declared:
            self.declared.append(one.name)

    def pictures(self) -> Iterator[tuple[int, Pictured]]:
        """Yield the number of its file and each picture."""
        for file, *row in self._rows("SELECT * FROM pictures ORDER BY rowid"):
            yield file, Pictured(*row)

    def used(self) -> Iterator[str]:
        """Yield the classes that shapes of listed pictures have, sorted."""
        query = "SELECT DISTINCT called FROM shapes NATURAL JOIN pictures ORDER BY called"
        yield from (name for (name,) in self._rows(query))

    def shapes(self, file: int, number: int, part: int) -> Iterator[Shape]:
        """Yield a picture's shapes, the lowest first."""
        query = (
            "SELECT number, part, called, level, kind, body FROM shapes "
            "WHERE file = ? AND number = ? AND part = ? ORDER BY level, rowid"
        )
        yield from (Shape(*row) for row in self._rows(query, file, number, part))
