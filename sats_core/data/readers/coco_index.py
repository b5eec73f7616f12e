"""A COCO file read once, piece by piece, into an index on disk: its size never sits in memory."""

import json
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import ijson

from sats_core.data.readers.base import at_fault
from sats_core.data.sources import Source

MAX_NAME = 1000
_SCHEMA = """
CREATE TABLE pictures (
    file INTEGER, id INTEGER, name TEXT, height INTEGER, width INTEGER, PRIMARY KEY (file, id));
CREATE TABLE shapes (file INTEGER, picture INTEGER, category INTEGER, segmentation TEXT);
CREATE TABLE segments (file INTEGER, picture INTEGER, name TEXT, segments TEXT);
"""
_INDEXES = """
CREATE INDEX shapes_by_picture ON shapes (file, picture);
CREATE INDEX segments_by_picture ON segments (file, picture);
"""


class Entry(NamedTuple):
    """A picture as a COCO file lists it."""

    file: int
    id: int
    name: str
    height: int
    width: int


class CocoIndex:
    """Pictures, shapes and categories of some COCO files.

    Attributes:
        files: names of the JSON files in the source.
        categories: id -> name.
    """

    def __init__(self, source: Source, files: tuple[str, ...]) -> None:
        """Read the files.

        Raises:
            DatasetError: one is no COCO file.
        """
        self.files = files
        self.categories: dict[int, str] = {}
        folder = tempfile.mkdtemp(prefix="sats-coco-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._path = Path(folder) / "index.db"
        with closing(self._connect()) as database, database:
            database.executescript(_SCHEMA)
            for number, file in enumerate(files):
                self._read(database, source, number, file)
            database.executescript(_INDEXES)

    def _connect(self) -> sqlite3.Connection:
        # A connection a query: readers are used from several threads and processes.
        return sqlite3.connect(self._path)

    def _read(self, database: sqlite3.Connection, source: Source, number: int, file: str) -> None:
        try:
            with source.stream(file) as stream:
                for kind, entry in _entries(stream):
                    self._add(database, number, kind, entry)
        except (
            ijson.JSONError,
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
        ) as error:
            raise at_fault(f"not COCO JSON: {_said(error)}", file) from error
        except sqlite3.IntegrityError as error:
            raise at_fault("a picture's id is there twice", file) from error

    def _add(self, database: sqlite3.Connection, file: int, kind: str, entry: Any) -> None:
        if kind == "categories":
            self._add_category(_whole(entry["id"]), _text(entry["name"]))
        elif kind == "images":
            size = _whole(entry["height"]), _whole(entry["width"])
            row = (file, _whole(entry["id"]), _text(entry["file_name"]), *size)
            database.execute("INSERT INTO pictures VALUES (?, ?, ?, ?, ?)", row)
        elif "segments_info" in entry:
            segments = [(_whole(s["id"]), _whole(s["category_id"])) for s in entry["segments_info"]]
            name = _text(entry["file_name"])
            whole = (file, _whole(entry["image_id"]), name, json.dumps(segments))
            database.execute("INSERT INTO segments VALUES (?, ?, ?, ?)", whole)
        else:
            shape = json.dumps(entry["segmentation"], default=_number)
            drawn = (file, _whole(entry["image_id"]), _whole(entry["category_id"]), shape)
            database.execute("INSERT INTO shapes VALUES (?, ?, ?, ?)", drawn)

    def _add_category(self, category: int, name: str) -> None:
        if self.categories.setdefault(category, name) != name:
            raise ValueError(f"category {category} is {self.categories[category]!r} and {name!r}")

    def pictures(self) -> Iterator[Entry]:
        """Yield every picture."""
        with closing(self._connect()) as database:
            for row in database.execute("SELECT * FROM pictures ORDER BY file, name"):
                yield Entry(*row)

    def shapes(self, entry: Entry) -> list[tuple[int, Any]]:
        """Return category and segmentation of a picture's shapes, in the file's order."""
        with closing(self._connect()) as database:
            rows = database.execute(
                "SELECT category, segmentation FROM shapes WHERE file = ? AND picture = ? "
                "ORDER BY rowid",
                (entry.file, entry.id),
            )
            return [(category, json.loads(text)) for category, text in rows]

    def segments(self, entry: Entry) -> tuple[str, dict[int, int]] | None:
        """Return a picture's panoptic mask and the category of each of its segments."""
        with closing(self._connect()) as database:
            row = database.execute(
                "SELECT name, segments FROM segments WHERE file = ? AND picture = ?",
                (entry.file, entry.id),
            ).fetchone()
        return (row[0], dict(json.loads(row[1]))) if row else None


_LISTS = ("images.item", "annotations.item", "categories.item")


def _entries(stream: Any) -> Iterator[tuple[str, Any]]:
    """Yield the entries of the three lists, one at a time, whatever their order."""
    parser = ijson.parse(stream)
    for prefix, event, value in parser:
        if event == "start_map" and prefix in (
            "images.item",
            "annotations.item",
            "categories.item",
        ):
            builder = ijson.ObjectBuilder()
            builder.event(event, value)
            depth = 1
            while depth:
                _, event, value = next(parser)
                depth += (event in ("start_map", "start_array")) - (
                    event in ("end_map", "end_array")
                )
                builder.event(event, value)
            yield prefix.removesuffix(".item"), builder.value


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"an entry has no {error}"
    return str(error)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise ValueError(f"{str(value)[:50]!r} is no id or size")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"a name has 1 to {MAX_NAME} characters")
    return value


def _number(value: Any) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} in a segmentation")
