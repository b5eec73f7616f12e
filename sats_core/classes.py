"""The class catalogue: what a model can name, in the order of its output channels."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sats_core.errors import ClassError

BACKGROUND = 0
IGNORE = 255
MAX_CLASSES = 254
"""Foreground classes that fit into an 8-bit mask beside background (0) and ignore (255)."""

Colour = tuple[int, int, int]


def voc_colour(index: int) -> Colour:
    """Return the RGB colour that the Pascal VOC devkit gives to class `index` (0..255)."""
    red = green = blue = 0
    for bit in range(8):
        red |= (index & 1) << (7 - bit)
        green |= (index >> 1 & 1) << (7 - bit)
        blue |= (index >> 2 & 1) << (7 - bit)
        index >>= 3
    return red, green, blue


@dataclass(frozen=True)
class ClassInfo:
    """One class.

    Attributes:
        index: the value in masks; never changes once given.
        name: unique within a model.
        colour: RGB, 0..255.
        step: number of the step that brought it; 0 is the base step (and the background's).
    """

    index: int
    name: str
    colour: Colour
    step: int


@dataclass(frozen=True)
class Catalogue:
    """The classes of one version; position in `classes` is the output channel.

    Channel 0 is background. On a line of versions without branches channel and index are the
    same; after a roll-back an index given to a version that is no longer an ancestor stays taken,
    and the two part.

    Raises:
        ClassError: no background at channel 0, a name or index twice, an index out of range.
    """

    classes: tuple[ClassInfo, ...]

    def __post_init__(self) -> None:
        names = [c.name for c in self.classes]
        indices = [c.index for c in self.classes]
        if not self.classes or indices[0] != BACKGROUND:
            raise ClassError("a catalogue starts with background at index 0")
        for name in names:
            if names.count(name) > 1:
                raise ClassError(f"class {name!r} is in the catalogue twice")
        if len(set(indices)) != len(indices):
            raise ClassError("two classes of a catalogue have the same index")
        if max(indices) > MAX_CLASSES or min(indices) < 0:
            raise ClassError(f"class indices run from 0 to {MAX_CLASSES}")

    @classmethod
    def empty(cls) -> "Catalogue":
        """Return the catalogue of a model that has learned nothing: background alone."""
        return cls((ClassInfo(BACKGROUND, "background", voc_colour(0), 0),))

    def grow(self, names: Sequence[str], indices: Sequence[int] | None = None) -> "Catalogue":
        """Return this catalogue with the classes of one more step behind it.

        Args:
            names: the new classes, in channel order.
            indices: their mask values; by default the next free ones.

        Raises:
            ClassError: a name is known already, or more than 254 classes.
        """
        for name in names:
            if name in self:
                raise ClassError(f"class {name!r} is known already")
        if indices is None:
            first = max(c.index for c in self.classes) + 1
            indices = range(first, first + len(names))
        if len(self.classes) - 1 + len(names) > MAX_CLASSES:
            raise ClassError(f"a model holds at most {MAX_CLASSES} classes beside background")
        step = self.steps
        new = (ClassInfo(i, n, voc_colour(i), step) for i, n in zip(indices, names, strict=True))
        return Catalogue((*self.classes, *new))

    def without(self, names: Collection[str]) -> "Catalogue":
        """Return this catalogue without some classes; those that stay keep index, colour and step.

        Raises:
            ClassError: one is not in it, or is the background.
        """
        for name in names:
            if self.channel(name) == BACKGROUND:
                raise ClassError("the background stays")
        return Catalogue(tuple(c for c in self.classes if c.name not in names))

    @property
    def steps(self) -> int:
        """Number of steps taken so far; 0 while only background is known."""
        return 0 if len(self.classes) == 1 else max(c.step for c in self.classes) + 1

    @property
    def newest(self) -> tuple[str, ...]:
        """Names of the classes that the last step brought."""
        return tuple(c.name for c in self.classes[1:] if c.step == self.steps - 1)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in channel order, background first."""
        return tuple(c.name for c in self.classes)

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names in channel order, without background."""
        return self.names[1:]

    def channel(self, name: str) -> int:
        """Return the output channel of class `name`.

        Raises:
            ClassError: no such class.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise ClassError(f"no class {name!r}; known: {', '.join(self.names)}") from None

    def channels(self, names: Iterable[str]) -> tuple[int, ...]:
        """Return the output channels of several classes."""
        return tuple(self.channel(name) for name in names)

    def sizes(self) -> tuple[int, ...]:
        """Return how many channels each step brought; background counts to the base step.

        A step all of whose classes were taken away again is left out.
        """
        counts = Counter(c.step for c in self.classes)
        return tuple(counts[step] for step in sorted(counts))

    def __contains__(self, name: object) -> bool:
        return any(c.name == name for c in self.classes)

    def __len__(self) -> int:
        return len(self.classes)
