"""An image folder of Hugging Face's `datasets`, with masks: metadata.jsonl or metadata.csv."""

import csv
import io
import json
import posixpath
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, ClassVar

from sats_core.data.readers.base import (
    Reader,
    at_fault,
    code_of,
    missing_at,
    no_class_list,
)
from sats_core.data.readers.class_list import (
    MAX_LIST_BYTES,
    ClassList,
    indexed_classes,
    parse_classes,
)
from sats_core.data.readers.paired import MaskReader, split_of_path
from sats_core.data.readers.pairs import json_entries
from sats_core.data.readers.picture_files import PictureFiles
from sats_core.data.sources import Source

METADATA = ("metadata.jsonl", "metadata.csv")
CLASS_LISTS = ("id2label.json", "classes.txt")
PICTURE = "file_name"
MAX_METADATA_BYTES = 64 * 2**20
"""Of all metadata together: they are read when a data set is posted."""
MAX_LINE = 2**17
MOST_COLUMNS, MOST_ROWS = 100, 100_000
MOST_LINES_OF_A_ROW = 1000
"""A value in quotes may have several."""


class ImageFolderReader(MaskReader):
    """Metadata of `file_name` and one column that names a PNG mask; beside it id2label.json.

    Names are relative to the metadata's folder. Masks hold indices, 0 background and 255 ignore.
    """

    layout: ClassVar[str] = (
        "Hugging Face image folder (metadata.jsonl or .csv with file_name and a column of masks, "
        "id2label.json or classes.txt)"
    )

    def __init__(self, source: Source) -> None:
        Reader.__init__(self, source)
        self._list = _class_list(source)
        self.classes = self._list.classes
        names = set(source.names())
        self._files: dict[str, tuple[str, str]] = {}
        splits: dict[str, list[str]] = {}
        for metadata, row in _rows(source):
            pair = _pair(metadata, row, names)
            if pair is None:
                continue
            split, stem = split_of_path(pair[0].rpartition(".")[0])
            if stem in self._files:
                raise at_fault(f"picture {pair[0]} is listed twice, or in two splits", metadata)
            self._files[stem] = pair
            if split:
                splits.setdefault(split, []).append(stem)
        self.ids = tuple(sorted(self._files))
        if not self.ids:
            metadata = next(n for n in source.names() if posixpath.basename(n) in METADATA)
            message = "no picture has a mask: no row of the metadata names both"
            raise missing_at(message, metadata)
        used = {name for pair in self._files.values() for name in pair}
        pictures = PictureFiles(source.names()).names
        self.unpaired = tuple(name for name in pictures if name not in used)
        self.splits = {name: tuple(sorted(ids)) for name, ids in sorted(splits.items())}

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """See `Reader.recognises`."""
        return any(posixpath.basename(name) in METADATA for name in source.names())


def _class_list(source: Source) -> ClassList:
    for name in CLASS_LISTS:
        if name not in source.names():
            continue
        data = source.read(name, MAX_LIST_BYTES)
        if name.endswith(".txt"):
            return parse_classes(data, name)
        entries, colours = json_entries(data, name)
        return indexed_classes(entries, name, colours)
    raise no_class_list(*CLASS_LISTS)


def _rows(source: Source) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield file and row of all metadata."""
    left, rows = MAX_METADATA_BYTES, count(1)
    for file in source.names():
        if posixpath.basename(file) not in METADATA:
            continue
        left -= source.size(file)
        if left < 0:
            raise at_fault(
                f"the metadata have more than {MAX_METADATA_BYTES} bytes together",
                file,
                code="too_large",
            )
        data = io.BytesIO(source.read(file))
        lines = io.TextIOWrapper(data, "utf-8-sig", newline="" if file.endswith("csv") else None)
        try:
            for row in _table(lines) if file.endswith("csv") else map(_object, lines):
                _check(next(rows), row)
                if row:
                    yield file, row
        except (TypeError, ValueError, RecursionError, csv.Error) as error:
            raise at_fault(
                f"not metadata of an image folder: {error}", file, code=code_of(error)
            ) from error


def _check(number: int, row: Mapping[str, Any]) -> None:
    if number > MOST_ROWS or len(row) > MOST_COLUMNS:
        raise ValueError(f"more than {MOST_ROWS} rows, or {MOST_COLUMNS} columns")


def _table(lines: Iterator[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a CSV; a short one is filled up to the header's width."""
    taken = 0

    def counted() -> Iterator[str]:
        nonlocal taken
        for line in lines:
            taken += 1
            if len(line) > MAX_LINE or taken > MOST_LINES_OF_A_ROW:
                raise ValueError("a row is too long")
            yield line

    table = csv.DictReader(counted())
    if len(table.fieldnames or ()) > MOST_COLUMNS:
        raise ValueError(f"more than {MOST_COLUMNS} columns")
    for row in table:
        taken = 0
        yield row


def _object(line: str) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise ValueError(f"a line has more than {MAX_LINE} characters")
    row = json.loads(line) if line.strip() else {}
    if not isinstance(row, dict):
        raise TypeError("a line is no object")
    return row


def _pair(metadata: str, row: Mapping[str, Any], names: set[str]) -> tuple[str, str] | None:
    """Return picture and mask of a row; None where one of them is not there."""
    folder = posixpath.dirname(metadata)

    def there(value: Any) -> str | None:
        if not isinstance(value, str):
            return None
        name = posixpath.normpath(posixpath.join(folder, value))
        return name if name in names else None

    if not isinstance(row.get(PICTURE), str):
        raise at_fault(f"a row has no `{PICTURE}`", metadata)
    picture = there(row[PICTURE])
    found = {key: there(value) for key, value in row.items() if key != PICTURE}
    masks = {key: name for key, name in found.items() if name and name.lower().endswith(".png")}
    if len(masks) > 1:
        columns = ", ".join(sorted(map(str, masks)))
        raise at_fault(f"the columns {columns} all name a PNG: which is the mask?", metadata)
    mask = next(iter(masks.values()), None)
    return (picture, mask) if picture and mask else None
