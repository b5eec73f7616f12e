"""The class lists of the VOC layout: `classes.txt` and CVAT's `labelmap.txt`.

A list says what an index in a mask means, and what a colour means; both end as label values:
0 background, 1..n the foreground classes in the list's order, 255 ignore.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sats_core.classes import BACKGROUND, IGNORE, MAX_CLASSES, Colour, voc_colour
from sats_core.data.bands import row_bands
from sats_core.data.names import is_readable_name, printable
from sats_core.data.pictures import Mask
from sats_core.data.readers.base import Pixels, at_fault

BACKGROUND_NAMES = frozenset(
    {
        "background",
        "__background__",
        "_background_",
        "bg",
        "null",
        "none",
        "unlabeled",
        "unlabelled",
    }
)
VOID_COLOUR: Colour = (224, 224, 192)
"""Border colour of Pascal VOC's own colour masks: pixels that count for nothing."""
MAX_NAME = 200
MAX_LIST_BYTES = 2**20

_UNKNOWN = 256
_INDEXED = re.compile(r"(\d{1,9})[ \t]+(\S.*)")
_CVAT = re.compile(r"(.+?):(\d{1,3}),(\d{1,3}),(\d{1,3})(?::.*)?")


@dataclass(frozen=True)
class ClassList:
    """What masks mean.

    Attributes:
        classes: foreground names in the list's order.
        by_index: mask index -> label value.
        by_colour: RGB -> label value.
        colours_first: whether a mask with a palette is read by its colours (CVAT) or its indices.
    """

    classes: tuple[str, ...]
    by_index: dict[int, int]
    by_colour: dict[Colour, int]
    colours_first: bool

    def label(self, mask: Mask, file: str) -> Pixels:
        """Return a mask as label values, (H, W) uint8.

        Raises:
            DatasetError: an index or colour that the list does not have.
        """
        if mask.values.ndim == 3:
            return _looked_up(mask.values, self._colour_codes(), file, _colour_name)
        if self.colours_first and mask.palette is not None:
            meaning = self._colour_codes()
            palette = enumerate(_codes(mask.palette).tolist())
            by_index = {index: meaning[code] for index, code in palette if code in meaning}
            return _looked_up(mask.values, by_index, file, _index_name)
        return _looked_up(mask.values, self.by_index, file, _index_name)

    def _colour_codes(self) -> dict[int, int]:
        return {(r << 16) | (g << 8) | b: value for (r, g, b), value in self.by_colour.items()}


def parse_classes(data: bytes, file: str) -> ClassList:
    """Read `classes.txt`: lines `index name`, or one name a line in the order of the indices.

    Raises:
        DatasetError: not such a list; no, too many, doubled or unusable classes.
    """
    lines = _lines(data, file)
    entries = _indexed(lines, file) if _INDEXED.fullmatch(lines[0]) else _bare(lines, file)
    return indexed_classes(entries, file)


def indexed_classes(
    entries: Sequence[tuple[int, str]], file: str, colours: Mapping[int, Colour] | None = None
) -> ClassList:
    """Return the list of classes that masks name by index.

    Args:
        entries: index and name; 0 and 255 need none.
        file: the list's file, for errors.
        colours: of an index; by default VOC's.

    Raises:
        DatasetError: no, too many, doubled or unusable classes.
    """
    void = {IGNORE: IGNORE}
    kept = [(index, name) for index, name in entries if index not in (BACKGROUND, IGNORE)]
    if any(index > IGNORE for index, _ in entries):
        raise at_fault(f"indices run from 0 to {IGNORE - 1}", file)
    _refuse_doubles((str(index) for index, _ in entries), "index", file)
    classes = _checked([name for _, name in kept], file)
    by_index = {BACKGROUND: 0} | {i: at for at, (i, _) in enumerate(kept, start=1)} | void
    given = colours or {}
    by_colour = {given.get(i, voc_colour(i)): value for i, value in by_index.items() if i != IGNORE}
    return ClassList(classes, by_index, by_colour | {VOID_COLOUR: IGNORE}, colours_first=False)


def parse_labelmap(data: bytes, file: str) -> ClassList:
    """Read CVAT's `labelmap.txt`: lines `label:r,g,b:parts:actions`, comments with #.

    Raises:
        DatasetError: not such a list; no, too many, doubled or unusable classes or colours.
    """
    entries: list[tuple[str, Colour]] = []
    for line in _lines(data, file):
        if line.startswith("#"):
            continue
        match = _CVAT.fullmatch(line)
        if match is None or any(int(part) > 255 for part in match.groups()[1:]):
            raise at_fault(f"{line!r} is not `label:red,green,blue:parts:actions`", file)
        name, red, green, blue = match.groups()
        entries.append((name.strip(), (int(red), int(green), int(blue))))
    _refuse_doubles((str(colour) for _, colour in entries), "colour", file)
    values: list[int] = []
    kept: list[str] = []
    for name, colour in entries:
        if colour == (0, 0, 0) or name.lower() in BACKGROUND_NAMES:
            values.append(BACKGROUND)
        else:
            kept.append(name)
            values.append(len(kept))
    classes = _checked(kept, file)
    by_index = dict(enumerate(values)) | {IGNORE: IGNORE}
    by_colour = {colour: value for (_, colour), value in zip(entries, values, strict=True)}
    known = {(0, 0, 0): BACKGROUND, VOID_COLOUR: IGNORE} | by_colour
    return ClassList(classes, by_index, known, colours_first=True)


def _lines(data: bytes, file: str) -> list[str]:
    if len(data) > MAX_LIST_BYTES:
        raise at_fault(f"a class list has at most {MAX_LIST_BYTES} bytes", file, code="too_large")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise at_fault("a class list is UTF-8 text", file, code="unreadable") from error
    lines = [line.strip() for line in text.strip().split("\n")]
    if lines == [""]:
        raise at_fault("the class list is empty", file)
    return lines


def _indexed(lines: list[str], file: str) -> list[tuple[int, str]]:
    entries = []
    for line in filter(None, lines):
        match = _INDEXED.fullmatch(line)
        if match is None:
            raise at_fault(f"{line!r} is not `index name`", file)
        entries.append((int(match[1]), match[2]))
    return entries


def _bare(lines: list[str], file: str) -> list[tuple[int, str]]:
    if lines[0].lower() not in BACKGROUND_NAMES:
        raise at_fault(
            f"the first name is index 0, the background, but says {lines[0]!r}; "
            "write `background` above it, or `index name` in every line",
            file,
        )
    if "" in lines:
        raise at_fault(f"line {lines.index('') + 1} is empty, so that the next index is open", file)
    if len(lines) > IGNORE:
        raise at_fault(
            f"{len(lines) - 1} classes; a mask holds at most {MAX_CLASSES}", file, code="too_large"
        )
    return list(enumerate(lines))


def _checked(names: list[str], file: str) -> tuple[str, ...]:
    if not names:
        raise at_fault("the class list names no class beside background", file)
    if len(names) > MAX_CLASSES:
        raise at_fault(
            f"{len(names)} classes; a mask holds at most {MAX_CLASSES}", file, code="too_large"
        )
    for name in names:
        if not 0 < len(name) <= MAX_NAME or not is_readable_name(name):
            raise at_fault(
                f"a class name has 1 to {MAX_NAME} printable characters", file, printable(name)
            )
        if name.lower() == "background":
            raise at_fault("background has index 0 only", file, name)
    _refuse_doubles(names, "class", file)
    return tuple(names)


def _refuse_doubles(things: Iterable[str], what: str, file: str) -> None:
    seen: set[str] = set()
    for thing in things:
        if thing in seen:
            raise at_fault(f"{what} {thing} is there twice", file, code="repeated")
        seen.add(thing)


def _codes(colours: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint32]:
    red, green, blue = np.moveaxis(colours.astype(np.uint32), -1, 0)
    codes: NDArray[np.uint32] = (red << 16) | (green << 8) | blue
    return codes


def _index_name(code: int) -> str:
    return f"index {code}"


def _colour_name(code: int) -> str:
    return f"colour {code >> 16},{code >> 8 & 255},{code & 255}"


def _looked_up(
    stored: NDArray[np.uint8 | np.uint16],
    meaning: dict[int, int],
    file: str,
    describe: Callable[[int], str],
) -> Pixels:
    """Translate indices (H, W) or colours (H, W, 3) into label values through a sorted table, so
    that any code may come."""
    known = np.array(sorted(meaning), dtype=np.uint32)
    values = np.array([meaning[code] for code in sorted(meaning)], dtype=np.uint8)
    labels: Pixels = np.empty(stored.shape[:2], dtype=np.uint8)
    first, strangers = None, 0
    for rows in row_bands(*labels.shape):
        codes = _codes(stored[rows]) if stored.ndim == 3 else stored[rows]
        strange = ~np.isin(codes, known)
        if strange.any():
            strangers += int(strange.sum())
            first = int(codes[strange][0]) if first is None else first
        elif first is None:
            labels[rows] = values[np.searchsorted(known, codes)]
    if first is not None:
        share = strangers / labels.size
        what = describe(first)
        raise at_fault(
            f"{what} is not in the class list ({share:.1%} of the pixels)", file, code="unknown"
        )
    return labels
