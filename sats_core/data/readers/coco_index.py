"""A COCO file read once, piece by piece, into an index on disk: its size never sits in memory."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

import ijson

from sats_core.data.names import printable
from sats_core.data.readers.base import at_fault, code_of
from sats_core.data.readers.coco_parsing import entries
from sats_core.data.readers.disk_index import DiskIndex
from sats_core.data.sources import Source

MAX_NAME = 1000
MAX_CATEGORIES = 10_000
_SCHEMA = """
CREATE TABLE pictures (
    file INTEGER, id INTEGER, name TEXT, height INTEGER, width INTEGER, PRIMARY KEY (file, id));
CREATE TABLE shapes (
    file INTEGER, picture INTEGER, called TEXT, category INTEGER, segmentation TEXT);
CREATE TABLE segments (file INTEGER, picture INTEGER, called TEXT, name TEXT, segments TEXT);
"""
_INDEXES = """
CREATE INDEX shapes_by_picture ON shapes (file, picture);
CREATE INDEX segments_by_picture ON segments (file, picture);
"""

_STRAYS = """
SELECT file, called, picture FROM (
    SELECT file, called, picture FROM shapes UNION ALL SELECT file, called, picture FROM segments)
AS listed WHERE NOT EXISTS (
    SELECT 1 FROM pictures WHERE pictures.file = listed.file AND pictures.id = listed.picture)
LIMIT 1
"""


class Entry(NamedTuple):
    """A picture as a COCO file lists it."""

    file: int
    id: int
    name: str
    height: int
    width: int


class CocoIndex(DiskIndex):
    """Pictures, shapes and categories of some COCO files.

    Attributes:
        files: names of the JSON files in the source.
        categories: id -> name.
    """

    def __init__(self, source: Source, files: tuple[str, ...]) -> None:
        """Read the files.

        Raises:
            DatasetError: one is no COCO file, or has an annotation of a picture that it does not
                list.
        """
        self.files = files
        self.categories: dict[int, str] = {}
        super().__init__()
        with self._filling() as database:
            database.executescript(_SCHEMA)
            for number, file in enumerate(files):
                self._read(database, source, number, file)
            database.executescript(_INDEXES)
            self._refuse_stray(database)

    def _read(self, database: sqlite3.Connection, source: Source, number: int, file: str) -> None:
        try:
            with source.stream(file) as stream:
                for kind, entry in entries(stream):
                    self._add(database, number, kind, entry)
        except (
            ijson.JSONError,
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
        ) as error:
            raise at_fault(f"not COCO JSON: {_said(error)}", file, code=code_of(error)) from error
        except sqlite3.IntegrityError as error:
            raise at_fault("a picture's id is there twice", file, code="repeated") from error

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
            whole = (file, _whole(entry["image_id"]), _called(entry), name, json.dumps(segments))
            database.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?)", whole)
        else:
            shape = json.dumps(entry["segmentation"])
            picture, category = _whole(entry["image_id"]), _whole(entry["category_id"])
            drawn = (file, picture, _called(entry), category, shape)
            database.execute("INSERT INTO shapes VALUES (?, ?, ?, ?, ?)", drawn)

    def _add_category(self, category: int, name: str) -> None:
        if self.categories.setdefault(category, name) != name:
            raise ValueError(f"category {category} is {self.categories[category]!r} and {name!r}")
        if len(self.categories) > MAX_CATEGORIES:
            raise ValueError(f"more than {MAX_CATEGORIES} categories")

    def _refuse_stray(self, database: sqlite3.Connection) -> None:
        for file, called, picture in database.execute(_STRAYS):
            what = f"{called}: its `image_id` {picture} is not in `images`"
            raise at_fault(what, self.files[file])

    def pictures(self) -> Iterator[Entry]:
        """Yield every picture."""
        for row in self._rows("SELECT * FROM pictures ORDER BY file, name"):
            yield Entry(*row)

    def shapes(self, entry: Entry) -> Iterator[tuple[int, Any]]:
        """Yield category and segmentation of a picture's shapes, in the file's order."""
        rows = self._rows(
            "SELECT category, segmentation FROM shapes WHERE file = ? AND picture = ? "
            "ORDER BY rowid",
            entry.file,
            entry.id,
        )
        for category, text in rows:
            yield category, json.loads(text)

    def panoptic_masks(self) -> Iterator[tuple[int, int, str]]:
        """Yield file, picture's id and name of every panoptic mask; a picture's first one last."""
        yield from self._rows("SELECT file, picture, name FROM segments ORDER BY rowid DESC")

    def segments(self, entry: Entry) -> dict[int, int]:
        """Return the category of each segment of a picture's panoptic mask."""
        rows = self._rows(
            "SELECT segments FROM segments WHERE file = ? AND picture = ? ORDER BY rowid LIMIT 1",
            entry.file,
            entry.id,
        )
        return {segment: category for (text,) in rows for segment, category in json.loads(text)}


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"an entry has no {error}"
    return str(error)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise ValueError(f"{str(value)[:50]!r} is no id or size")
    return value


def _called(annotation: Any) -> str:
    """Return what an annotation is called in errors: by its id, where it has one."""
    if "id" in annotation:
        return printable(f"annotation {str(annotation['id'])[:50]}")
    if isinstance(annotation.get("file_name"), str):
        return printable(f"the annotation of mask {annotation['file_name'][:50]}")
    return "an annotation without an id"


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"a name has 1 to {MAX_NAME} characters")
    return value
