"""What layouts have in common whose labels are drawn from shapes."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sats_core.classes import BACKGROUND, IGNORE
from sats_core.data.readers.base import LabelledPicture, Pixels, Reader, at_fault
from sats_core.data.readers.canvas import Canvas
from sats_core.data.readers.class_list import BACKGROUND_NAMES, indexed_classes
from sats_core.data.readers.coco_shapes import ShapeError
from sats_core.errors import DatasetError

VOID_NAMES = frozenset({"void", "ignore", "__ignore__", "_ignore_"})
"""Classes whose pixels count for nothing."""


@dataclass(frozen=True)
class Drawing:
    """A picture and where its shapes are.

    Attributes:
        picture: its file.
        annotation: the file that holds its shapes.
        size: height and width as the annotation says; None where it says nothing.
        split: that it is of.
        number: of the picture in the annotation file.
        part: which of its annotations counts.
    """

    picture: str
    annotation: str
    size: tuple[int, int] | None = None
    split: str | None = None
    number: int = 0
    part: int = 0


class DrawnReader(Reader):
    """Pictures whose labels are drawn; where shapes overlap the later one is on top."""

    _drawings: Mapping[str, Drawing]
    _values: Mapping[str, int]
    """Label value of each class name."""

    def _settle(self, drawings: Mapping[str, Drawing], pictures: Iterable[str]) -> None:
        """Take the pictures that have shapes, by id; `pictures` are all that there are.

        Raises:
            DatasetError: there is none.
        """
        self._drawings = drawings
        self.ids = tuple(sorted(drawings))
        if not self.ids:
            raise DatasetError(f"no picture has an annotation; what is read is {self.layout}")
        used = {drawing.picture for drawing in drawings.values()}
        self.unpaired = tuple(sorted(name for name in pictures if name not in used))
        splits: dict[str, list[str]] = {}
        for picture_id in self.ids:
            if split := drawings[picture_id].split:
                splits.setdefault(split, []).append(picture_id)
        self.splits = {name: tuple(ids) for name, ids in sorted(splits.items())}

    def _name_classes(self, names: Iterable[str], file: str) -> None:
        """Take the classes, in their order; raises as `label_values`."""
        self.classes, self._values = label_values(names, file)

    @abstractmethod
    def _draw(self, drawing: Drawing, canvas: Canvas) -> None:
        """Paint a picture's shapes, in the order in which they lie on each other.

        Raises:
            ShapeError: one cannot be drawn.
            DatasetError: the annotation cannot be read.
        """

    def picture_file(self, picture_id: str) -> str:
        """See `Reader.picture_file`."""
        return self._drawings[picture_id].picture

    def mask_file(self, picture_id: str) -> str:
        """See `Reader.mask_file`: the file of its shapes."""
        return self._drawings[picture_id].annotation

    def label(self, picture_id: str) -> Pixels:
        """See `Reader.label`."""
        drawing = self._drawings[picture_id]
        height, width = drawing.size or self.picture(picture_id).shape[:2]
        return self._drawn(drawing, height, width)

    def read(self, picture_id: str) -> LabelledPicture:
        """See `Reader.read`."""
        drawing = self._drawings[picture_id]
        if drawing.size is not None:
            return super().read(picture_id)
        picture = self.picture(picture_id)
        height, width = picture.shape[:2]
        return LabelledPicture(picture_id, picture, self._drawn(drawing, height, width))

    def _drawn(self, drawing: Drawing, height: int, width: int) -> Pixels:
        limit = self.source.limits.max_pixels
        if height * width > limit:
            reason = f"picture {drawing.picture} has more than {limit} pixels"
            raise at_fault(reason, drawing.annotation, code="too_large")
        canvas = Canvas(height, width)
        try:
            self._draw(drawing, canvas)
        except ShapeError as error:
            reason = f"a shape of {drawing.picture}: {error}"
            raise at_fault(reason, drawing.annotation) from error
        return canvas.label()


def label_values(names: Iterable[str], file: str) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the foreground classes, in order, and the label value of each name.

    Raises:
        DatasetError: no, too many, doubled or unusable classes; it blames `file`.
    """
    values: dict[str, int] = {}
    kept: list[tuple[int, str]] = []
    for name in names:
        if name.lower() in BACKGROUND_NAMES:
            values[name] = BACKGROUND
        elif name.lower() in VOID_NAMES:
            values[name] = IGNORE
        else:
            kept.append((len(kept) + 1, name))
            values[name] = len(kept)
        if len(kept) >= IGNORE:
            raise at_fault(
                f"{len(kept)} classes or more; a mask holds at most {IGNORE - 1}",
                file,
                code="too_large",
            )
    return indexed_classes(kept, file).classes, values
