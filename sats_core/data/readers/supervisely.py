"""Supervisely: meta.json, and in each data set of a project img/ and ann/ with a JSON a picture."""

import json
from collections import Counter
from typing import Any, ClassVar

from sats_core.data.readers.base import at_fault, code_of
from sats_core.data.readers.bitmaps import embedded_mask
from sats_core.data.readers.canvas import Canvas
from sats_core.data.readers.class_list import MAX_LIST_BYTES
from sats_core.data.readers.coco_shapes import ShapeError
from sats_core.data.readers.drawn import Drawing, DrawnReader, label_values
from sats_core.data.readers.labelme import FAULTS
from sats_core.data.readers.labelme_parsing import document, ring, size, text
from sats_core.data.readers.paired import SPLIT_FOLDERS
from sats_core.data.readers.picture_files import PictureFiles
from sats_core.data.readers.shape_index import count_ignored
from sats_core.data.sources import Source

META = "meta.json"
DRAWN = ("polygon", "bitmap")


class SuperviselyReader(DrawnReader):
    """DATASET/ann/NAME.jpg.json beside DATASET/img/NAME.jpg; a data set named train is a split.

    Polygons, with their holes, and bitmaps are read; the later one is on top.
    """

    layout: ClassVar[str] = "Supervisely (meta.json, DATASET/img/, DATASET/ann/*.json)"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._name_classes(_classes(source), META)
        self._ignored: Counter[str] = Counter()
        files = PictureFiles(source.names())
        drawings: dict[str, Drawing] = {}
        for annotation in source.names():
            picture = _picture_of(annotation)
            if picture is None or picture not in files.names_set:
                continue
            dataset, _, name = f"/{picture}".partition("/img/")
            dataset = dataset.removeprefix("/")
            split = SPLIT_FOLDERS.get(dataset.lower())
            stem = name.rpartition(".")[0]
            picture_id = stem if split or not dataset else f"{dataset}/{stem}"
            if picture_id in drawings:
                other = drawings[picture_id].annotation
                raise at_fault(f"{other} is of a picture of the same name", annotation)
            drawings[picture_id] = Drawing(picture, annotation, self._opened(annotation), split)
        self._settle(drawings, files.names)
        self.warnings += [
            f"Supervisely: {count} objects of type {kind} are left out: only polygons and bitmaps "
            "are read"
            for kind, count in sorted(self._ignored.items())
        ]

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """See `Reader.recognises`."""
        names = source.names()
        return META in names and any("/ann/" in f"/{name}" for name in names)

    @classmethod
    def glance(cls, source: Source) -> tuple[str, ...]:
        """See `Reader.glance`: `meta.json` tells the classes; no other file is read."""
        return label_values(_classes(source), META)[0]

    def _opened(self, annotation: str) -> tuple[int, int] | None:
        found: tuple[int, int] | None = None
        try:
            with self.source.stream(annotation) as stream:
                for key, value in document(stream, "objects"):
                    if key == "objects":
                        self._note(value)
                    elif key == "size" and isinstance(value, dict):
                        found = size(value.get("height"), value.get("width"))
        except FAULTS as error:
            raise at_fault(
                f"not the JSON of Supervisely: {error}", annotation, code=code_of(error)
            ) from error
        return found

    def _note(self, shape: dict[str, Any]) -> None:
        kind = text(shape.get("geometryType"))
        if kind not in DRAWN:
            count_ignored(self._ignored, kind)
        elif text(shape.get("classTitle")) not in self._values:
            raise ValueError(f"class {shape['classTitle']!r} is not in {META}")

    def _draw(self, drawing: Drawing, canvas: Canvas) -> None:
        try:
            with self.source.stream(drawing.annotation) as stream:
                for key, shape in document(stream, "objects"):
                    if key == "objects" and shape["geometryType"] in DRAWN:
                        self._draw_shape(shape, canvas)
        except ShapeError:
            raise
        except FAULTS as error:
            raise at_fault(
                f"not the JSON of Supervisely: {error}", drawing.annotation, code=code_of(error)
            ) from error

    def _draw_shape(self, shape: dict[str, Any], canvas: Canvas) -> None:
        value = self._values[shape["classTitle"]]
        if shape["geometryType"] == "polygon":
            points = shape["points"]
            if not isinstance(points, dict):
                raise TypeError("the `points` of a polygon are an object")
            holes = [ring(hole) for hole in points.get("interior") or []]
            canvas.polygon(ring(points["exterior"]), value, holes)
            return
        bitmap = shape["bitmap"]
        left, top = bitmap["origin"]
        if type(left) is not int or type(top) is not int:
            raise ShapeError("the origin of a bitmap is two whole numbers")
        limit = self.source.limits.max_pixels
        canvas.mask(embedded_mask(bitmap["data"], limit, compressed=True), top, left, value)


def _classes(source: Source) -> list[str]:
    try:
        listed = json.loads(source.read(META, MAX_LIST_BYTES))["classes"]
        return [text(one["title"]) for one in listed]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise at_fault(f"no list of classes with `title`: {error}", META) from error


def _picture_of(annotation: str) -> str | None:
    """Return the picture that an annotation file is of, by its name; None for other files."""
    dataset, ann, name = f"/{annotation}".partition("/ann/")
    if not ann or not name.endswith(".json"):
        return None
    return f"{dataset}/img/{name.removesuffix('.json')}".removeprefix("/")
