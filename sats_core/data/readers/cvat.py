"""CVAT for images 1.1: polygons and brush masks in XML."""

import json
from collections.abc import Iterator
from typing import ClassVar
from xml.parsers import expat

from sats_core.data.readers.base import at_fault, code_of, missing_at
from sats_core.data.readers.canvas import Canvas, counts_mask
from sats_core.data.readers.coco_shapes import ShapeError
from sats_core.data.readers.cvat_parsing import cvat_says
from sats_core.data.readers.drawn import Drawing, DrawnReader
from sats_core.data.readers.paired import SPLIT_FOLDERS
from sats_core.data.readers.picture_files import Listed, PictureFiles, ids_of
from sats_core.data.readers.shape_index import Pictured, Said, ShapeIndex
from sats_core.data.sources import Source

ANNOTATIONS = "annotations.xml"


class CvatReader(DrawnReader):
    """annotations.xml and its pictures; a subset called train, val, ... is a split.

    A shape of a higher `z_order` is on top, of equal ones the later. Boxes and whatever else has
    no inside are left out, with a warning.
    """

    layout: ClassVar[str] = "CVAT for images (annotations.xml, images/)"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        _check_size(source)
        self._index = ShapeIndex((ANNOTATIONS,), self._said)
        self._name_classes(self._index.declared, ANNOTATIONS)
        for name in self._index.used():
            if name not in self._values:
                raise at_fault(
                    f"label {name!r} is not in its `labels`", ANNOTATIONS, name, "unknown"
                )
        files = PictureFiles(source.names())
        self._settle(self._found(files), files.names)
        self.warnings += [
            f"{ANNOTATIONS}: {count} of <{kind}> are left out: only polygons and masks are read"
            for kind, count in sorted(self._index.ignored.items())
        ]

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """See `Reader.recognises`."""
        return ANNOTATIONS in source.names()

    @classmethod
    def glance(cls, source: Source) -> None:
        """See `Reader.glance`: how the file begins; it is not parsed, so the classes are open."""
        _check_size(source)
        if not PictureFiles(source.names()).names:
            raise missing_at(f"no picture is beside {ANNOTATIONS}", ANNOTATIONS)
        with source.stream(ANNOTATIONS) as stream:
            if b"<" not in stream.read(100):
                raise at_fault("not XML", ANNOTATIONS, code="unreadable")

    def _said(self, file: str) -> Iterator[Said]:
        try:
            with self.source.stream(file) as stream:
                yield from cvat_says(stream)
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise at_fault(
                f"not the XML of CVAT for images: {error}", file, code=code_of(error)
            ) from error

    def _found(self, files: PictureFiles) -> dict[str, Drawing]:
        matched = files.match(_listed(picture) for _, picture in self._index.pictures())
        return {
            picture_id: _drawing(file, matched[file].what)
            for file, picture_id in ids_of(matched).items()
        }

    def _draw(self, drawing: Drawing, canvas: Canvas) -> None:
        for shape in self._index.shapes(0, drawing.number, 0):
            value = self._values[shape.called]
            made_of = json.loads(shape.body)
            try:
                if shape.kind == "polygon":
                    points = made_of[0].replace(";", ",").split(",")
                    canvas.polygon([float(number) for number in points], value)
                    continue
                counts = [int(number) for number in made_of[0].split(",")]
                left, top, width, height = (int(number) for number in made_of[1:])
            except (ValueError, OverflowError) as error:
                raise ShapeError(f"its numbers are none: {error}") from error
            if not (0 < width <= canvas.width and 0 < height <= canvas.height):
                raise ShapeError(f"a mask of {width} x {height} is no part of the picture")
            canvas.mask(counts_mask(counts, height, width), top, left, value)


def _listed(picture: Pictured) -> Listed[Pictured]:
    subset = picture.split or ""
    return Listed(picture, picture.name, ANNOTATIONS, (f"images/{subset}", "images", subset, ""))


def _drawing(file: str, listed: Pictured) -> Drawing:
    size = (listed.height or 0, listed.width or 0)
    split = SPLIT_FOLDERS.get((listed.split or "").lower())
    return Drawing(file, ANNOTATIONS, size, split, listed.number)


def _check_size(source: Source) -> None:
    most = source.limits.max_annotation_bytes
    if source.size(ANNOTATIONS) > most:
        raise at_fault(f"more than {most} bytes", ANNOTATIONS, code="too_large")
