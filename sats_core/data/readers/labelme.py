"""LabelMe: one JSON file a picture."""

import posixpath
from collections import Counter
from typing import Any, ClassVar

import ijson

from sats_core.data.readers.base import at_fault, code_of, missing_at
from sats_core.data.readers.bitmaps import embedded_mask
from sats_core.data.readers.canvas import Canvas
from sats_core.data.readers.coco import json_files
from sats_core.data.readers.coco_index import MAX_CATEGORIES
from sats_core.data.readers.coco_shapes import ShapeError
from sats_core.data.readers.drawn import Drawing, DrawnReader
from sats_core.data.readers.json_start import json_starts
from sats_core.data.readers.labelme_parsing import document, ring, size, text
from sats_core.data.readers.paired import SPLIT_FOLDERS, split_folder
from sats_core.data.readers.picture_files import PictureFiles
from sats_core.data.readers.shape_index import count_ignored
from sats_core.data.sources import Source

FAULTS = (ijson.JSONError, KeyError, TypeError, ValueError, OverflowError, RecursionError)
DRAWN = ("polygon", "mask")


class LabelmeReader(DrawnReader):
    """NAME.json beside NAME.jpg, or wherever its `imagePath` leads inside the data set.

    Polygons and masks are read, the later one is on top; a picture inside the JSON is read over.
    Classes are sorted by name.
    """

    layout: ClassVar[str] = "LabelMe (NAME.json and NAME.jpg of each picture)"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._used: set[str] = set()
        self._ignored: Counter[str] = Counter()
        files = PictureFiles(source.names())
        drawings: dict[str, Drawing] = {}
        annotations = [name for name in source.names() if name.endswith(".json")]
        for annotation in annotations:
            drawing = self._opened(annotation, files)
            if drawing is None:
                continue
            stem = drawing.picture.rpartition(".")[0]
            picture_id = stem.removeprefix(f"{split_folder(stem)}/")
            if picture_id in drawings:
                other = drawings[picture_id].annotation
                raise at_fault(f"{other} is of a picture of the same name", annotation)
            drawings[picture_id] = drawing
        self._name_classes(sorted(self._used), annotations[0])
        self._settle(drawings, files.names)
        self.warnings += [
            f"LabelMe: {count} shapes of type {kind} are left out: only polygons and masks are read"
            for kind, count in sorted(self._ignored.items())
        ]

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """See `Reader.recognises`."""
        return any(not start.listed and "shapes" in start.keys for start in json_starts(source))

    @classmethod
    def glance(cls, source: Source) -> None:
        """See `Reader.glance`: only all files together tell the classes, so they are open."""
        if not PictureFiles(source.names()).names:
            raise missing_at("no picture is beside the .json files", json_files(source)[0])

    def _opened(self, annotation: str, files: PictureFiles) -> Drawing | None:
        said: dict[str, Any] = {}
        try:
            with self.source.stream(annotation) as stream:
                for key, value in document(stream, "shapes"):
                    if key == "shapes":
                        self._note(value)
                    elif key in ("imagePath", "imageHeight", "imageWidth"):
                        said[key] = value
            shape = size(said.get("imageHeight"), said.get("imageWidth"))
            path = text(said.get("imagePath")).replace("\\", "/")
        except FAULTS as error:
            raise at_fault(
                f"not the JSON of LabelMe: {error}", annotation, code=code_of(error)
            ) from error
        folder, base = posixpath.split(annotation)
        beside = posixpath.basename(path)
        found = files.find(path, (folder,)) or files.find(beside, (folder, ""))
        found = found or files.find(base.removesuffix(".json"), ())
        if found is None:
            return None
        split = split_folder(found)
        return Drawing(found, annotation, shape, SPLIT_FOLDERS[split] if split else None)

    def _note(self, shape: dict[str, Any]) -> None:
        kind = shape.get("shape_type") or "polygon"
        if kind in DRAWN:
            self._used.add(text(shape.get("label")))
            if len(self._used) > MAX_CATEGORIES:
                raise ValueError(f"more than {MAX_CATEGORIES} labels, with those of files before")
        else:
            count_ignored(self._ignored, text(kind))

    def _draw(self, drawing: Drawing, canvas: Canvas) -> None:
        try:
            with self.source.stream(drawing.annotation) as stream:
                for key, shape in document(stream, "shapes"):
                    if key == "shapes":
                        self._draw_shape(shape, canvas)
        except ShapeError:
            raise
        except FAULTS as error:
            raise at_fault(
                f"not the JSON of LabelMe: {error}", drawing.annotation, code=code_of(error)
            ) from error

    def _draw_shape(self, shape: dict[str, Any], canvas: Canvas) -> None:
        kind = shape.get("shape_type") or "polygon"
        if kind not in DRAWN:
            return
        value = self._values[shape["label"]]
        points = ring(shape.get("points"))
        if kind == "polygon":
            canvas.polygon(points, value)
            return
        inside = embedded_mask(shape.get("mask"), self.source.limits.max_pixels)
        left, top = (round(number) for number in points[:2])
        canvas.mask(inside, top, left, value)
