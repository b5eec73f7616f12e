"""YOLO segmentation: a text file of polygons a picture, and data.yaml."""

from typing import Any, ClassVar

from sats_core.data.readers.base import at_fault
from sats_core.data.readers.canvas import Canvas
from sats_core.data.readers.coco_shapes import MAX_POINTS, ShapeError
from sats_core.data.readers.drawn import Drawing, DrawnReader
from sats_core.data.readers.paired import SPLIT_FOLDERS
from sats_core.data.readers.picture_files import PictureFiles
from sats_core.data.sources import Source

MAX_YAML_BYTES = 2**15
MAX_TEXT_BYTES = 4 * 2**20


class YoloReader(DrawnReader):
    """images/NAME.jpg and labels/NAME.txt, with train/ and val/ inside or around the two.

    A line is `class x y x y ...`, in parts of width and height; the later one is on top. An empty
    file is a picture of background alone, a picture without one is left out.
    """

    layout: ClassVar[str] = "YOLO segmentation (data.yaml, images/, labels/*.txt)"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        file = _yaml_files(source)[0]
        self._names = _class_names(source, file)
        self._name_classes(self._names.values(), file)
        files = PictureFiles(source.names())
        names = set(source.names())
        drawings: dict[str, Drawing] = {}
        for picture in files.names:
            parts = picture.split("/")
            if "images" not in parts[:-1]:
                continue
            at = len(parts) - 1 - parts[::-1].index("images")
            label = "/".join([*parts[:at], "labels", *parts[at + 1 :]]).rpartition(".")[0] + ".txt"
            if label not in names:
                continue
            splits = [part for part in parts[:-1] if part.lower() in SPLIT_FOLDERS]
            left = [part for place, part in enumerate(parts) if place != at and part not in splits]
            picture_id = "/".join(left).rpartition(".")[0]
            if picture_id in drawings:
                other = drawings[picture_id].picture
                raise at_fault(
                    f"{other} has the same name but for the suffix or the split", picture
                )
            split = SPLIT_FOLDERS[splits[0].lower()] if splits else None
            drawings[picture_id] = Drawing(picture, label, None, split)
        self._settle(drawings, files.names)

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """See `Reader.recognises`."""
        labels = any(name.endswith(".txt") and "/labels/" in f"/{name}" for name in source.names())
        return labels and bool(_yaml_files(source))

    def _draw(self, drawing: Drawing, canvas: Canvas) -> None:
        data = self.source.read(drawing.annotation, MAX_TEXT_BYTES)
        for number, line in enumerate(data.splitlines(), start=1):
            words = line.split(maxsplit=MAX_POINTS + 1)
            if not words:
                continue
            name = self._names.get(_index(words[0]))
            if name is None:
                raise ShapeError(f"line {number} is of no class of the .yaml")
            if len(words) == 5:
                raise ShapeError(f"line {number} is a box; export polygons, for segmentation")
            if len(words) > MAX_POINTS + 1:
                raise ShapeError(f"line {number} has more than {MAX_POINTS} numbers")
            try:
                ring = [float(word) for word in words[1:]]
            except ValueError as error:
                raise ShapeError(f"line {number} is not `class x y x y ...`") from error
            ring[::2] = [x * canvas.width for x in ring[::2]]
            ring[1::2] = [y * canvas.height for y in ring[1::2]]
            canvas.polygon(ring, self._values[name])


def _yaml_files(source: Source) -> list[str]:
    """Return the .yaml files beside everything, `data.yaml` first."""
    found = [n for n in source.names() if "/" not in n and n.endswith((".yaml", ".yml"))]
    return sorted(found, key=lambda name: (name != "data.yaml", name))


def _class_names(source: Source, file: str) -> dict[int, str]:
    """Return the names of the classes by index."""
    import yaml  # of this layout alone

    try:
        # The base loader makes nothing but text, lists and dictionaries.
        loaded: Any = yaml.load(source.read(file, MAX_YAML_BYTES), yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise at_fault("not YAML", file, code="unreadable") from error
    names = loaded.get("names") if isinstance(loaded, dict) else None
    if isinstance(names, list):
        listed = {str(place): name for place, name in enumerate(names)}
    elif isinstance(names, dict):
        listed = names
    else:
        raise at_fault("no `names` of the classes", file)
    found = {_index(place): name for place, name in listed.items() if isinstance(place, str)}
    if (
        -1 in found
        or len(found) < len(listed)
        or not all(isinstance(name, str) for name in found.values())
    ):
        raise at_fault("`names` is a list of names, or names by number", file)
    return dict(sorted(found.items()))


def _index(word: str | bytes) -> int:
    return int(word) if len(word) < 6 and word.isascii() and word.isdigit() else -1
