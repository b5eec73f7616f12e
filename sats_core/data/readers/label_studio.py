"""Label Studio's JSON export: brushes and polygons."""

import json
import posixpath
import re
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import unquote

from sats_core.data.readers.base import at_fault, code_of, missing_at
from sats_core.data.readers.brush import decode_alpha
from sats_core.data.readers.canvas import Canvas
from sats_core.data.readers.coco import json_files, split_of
from sats_core.data.readers.coco_shapes import ShapeError
from sats_core.data.readers.drawn import Drawing, DrawnReader
from sats_core.data.readers.json_start import json_starts
from sats_core.data.readers.label_studio_parsing import label_studio_says
from sats_core.data.readers.labelme import FAULTS
from sats_core.data.readers.picture_files import Listed, PictureFiles
from sats_core.data.readers.shape_index import Pictured, Said, ShapeIndex
from sats_core.data.sources import Source

_UPLOADED = re.compile(r"[0-9a-f]{8}-")


class LabelStudioReader(DrawnReader):
    """One or more .json files of `exportType=JSON` and the pictures, wherever they lie.

    A picture is found by the last part of its address, with or without the eight digits that an
    upload gets. Where regions overlap the later one is on top. Classes are sorted by name: the
    export does not list them.
    """

    layout: ClassVar[str] = "Label Studio (its JSON export, and the pictures)"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._index = ShapeIndex(json_files(source), self._said)
        self._name_classes(self._index.used(), self._index.files[0])
        files = PictureFiles(source.names())
        self._settle(self._found(files), files.names)
        self.warnings += [
            f"Label Studio: {count} results of type {kind} are left out: only brushes and polygons "
            "with a label are read"
            for kind, count in sorted(self._index.ignored.items())
        ]

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """See `Reader.recognises`."""
        return any(start.listed and "annotations" in start.keys for start in json_starts(source))

    @classmethod
    def glance(cls, source: Source) -> None:
        """See `Reader.glance`: only whole files tell the classes, so they are open."""
        if not PictureFiles(source.names()).names:
            first = json_files(source)[0]
            raise missing_at(f"no picture is beside {first}", first)

    def _said(self, file: str) -> Iterator[Said]:
        try:
            with self.source.stream(file) as stream:
                yield from label_studio_says(stream)
        except FAULTS as error:
            raise at_fault(
                f"not the JSON export of Label Studio: {error}", file, code=code_of(error)
            ) from error

    def _found(self, files: PictureFiles) -> dict[str, Drawing]:
        drawings: dict[str, Drawing] = {}
        matched = files.match(
            _listed(picture, self._index.files[at]) for at, picture in self._index.pictures()
        )
        for file, listed in matched.items():
            picture_id = file.rpartition(".")[0]
            picture, json_file = listed.what, listed.annotation
            if picture_id in drawings:
                other = drawings[picture_id].picture
                raise at_fault(f"{other} and {file} are both picture {picture_id}", json_file)
            size = (picture.height, picture.width) if picture.height and picture.width else None
            drawings[picture_id] = Drawing(
                file, json_file, size, split_of(json_file), picture.number, picture.part
            )
        return drawings

    def _draw(self, drawing: Drawing, canvas: Canvas) -> None:
        at = self._index.files.index(drawing.annotation)
        for shape in self._index.shapes(at, drawing.number, drawing.part):
            value = self._values[shape.called]
            if isinstance(shape.body, bytes):  # a brush
                alpha = decode_alpha(shape.body, canvas.height * canvas.width)
                canvas.mask(alpha.reshape(canvas.height, canvas.width) > 0, 0, 0, value)
            else:
                canvas.polygon(_pixels(json.loads(shape.body), canvas), value)


def _listed(picture: Pictured, json_file: str) -> Listed[Pictured]:
    path = unquote(picture.name.partition("?")[0])
    base = posixpath.basename(path)
    lasts = [base, f"images/{base}"]
    if _UPLOADED.match(base):
        lasts += [f"images/{base[9:]}", base[9:]]
    return Listed(picture, path, json_file, ("", "images"), lasts)


def _pixels(points: list[Any], canvas: Canvas) -> list[float]:
    """Return a ring in pixels, from points in per cent of width and height."""
    ring: list[float] = []
    for point in points:
        if not isinstance(point, list) or len(point) != 2:
            raise ShapeError("a point is two numbers")
        if not all(type(number) in (int, float) and abs(number) < 1e9 for number in point):
            raise ShapeError("a polygon holds finite numbers")
        ring += [point[0] * canvas.width / 100, point[1] * canvas.height / 100]
    return ring
