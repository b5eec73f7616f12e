"""Draws the demo's labelled pictures: cluttered scenes, and data sets of them in VOC layout.

Needs numpy and Pillow only. The same seed gives the same pictures.
"""

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from demo.objects import CLUTTER, OBJECTS, Drawer
from demo.textures import GROUNDS, Array, fractal_noise, grid, turned
from sats_core.classes import voc_colour

LARGEST_TURN = 0.6  # radians either way
GRAIN = 0.02  # standard deviation of the camera's noise
JPEG_QUALITY = (70, 95)
LIGHT = (0.7, 1.25)  # darkest and brightest corner of the light's gradient

T = TypeVar("T")
_OVERSAMPLING = 2
_PLACES_TRIED = 12


@dataclass(frozen=True)
class Look:
    """What can be drawn, and how hard the pictures are.

    Attributes:
        drawers: objects by name.
        objects: fewest and most of a picture.
        side: least and largest share of the picture's side that an object takes.
        most_covered: share of an object that later ones may hide.
        clutter: fewest and most things of no class.
        clutter_side: least and largest share of the picture's side that one takes.
    """

    drawers: Mapping[str, Drawer]
    objects: tuple[int, int] = (2, 4)
    side: tuple[float, float] = (0.4, 0.66)
    most_covered: float = 0.25
    clutter: tuple[int, int] = (0, 3)
    clutter_side: tuple[float, float] = (0.08, 0.24)


DEMO = Look(OBJECTS)


@dataclass(frozen=True)
class Scene:
    """A picture (size, size, 3) uint8 RGB and which object each pixel shows.

    Attributes:
        picture: the drawn picture.
        objects: (size, size) uint8; 0 ground and clutter, i + 1 the i-th name it was drawn with.
    """

    picture: NDArray[np.uint8]
    objects: NDArray[np.uint8]


class Each(Protocol):
    """Draws one after the other, as `map` does, or several at a time, as that of a pool does."""

    def __call__(self, draw: Callable[[int], T], numbers: Iterable[int], /) -> Iterable[T]:
        """Return what `draw` makes of the numbers, in their order."""


def draw_scene(
    rng: np.random.Generator,
    size: int,
    names: Sequence[str],
    always: Sequence[str] = (),
    look: Look = DEMO,
) -> Scene:
    """Draw one picture of `size` px with several of the objects `names`.

    Args:
        rng: where chance comes from.
        size: side of the picture.
        names: what may be drawn, by the names that `look` knows.
        always: half of the objects, and at least one, are of these.
        look: what the names mean, and how hard the picture is.
    """
    side = size * _OVERSAMPLING
    canvas = GROUNDS[int(rng.integers(len(GROUNDS)))](rng, side)
    objects = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.integers(*look.clutter, endpoint=True))):
        drawer = CLUTTER[int(rng.integers(len(CLUTTER)))]
        _place(rng, canvas, drawer, rng.uniform(*look.clutter_side), objects, 0, look.most_covered)
    count = int(rng.integers(*look.objects, endpoint=True))
    chosen = [str(name) for name in rng.choice(list(names), count)]
    if always:
        # Half of what a picture shows is what it was drawn for.
        for place in range((count + 1) // 2):
            chosen[place] = str(rng.choice(list(always)))
        rng.shuffle(chosen)
    for name in chosen:
        value = list(names).index(name) + 1
        drawer = look.drawers[name]
        _place(rng, canvas, drawer, rng.uniform(*look.side), objects, value, look.most_covered)
    return Scene(_developed(rng, canvas, size), objects[1::_OVERSAMPLING, 1::_OVERSAMPLING].copy())


def draw_dataset(
    path: Path,
    classes: Sequence[str],
    pictures: int,
    size: int,
    seed: int,
    *,
    unlabelled: Sequence[str] = (),
    held_out: float = 0.2,
    look: Look = DEMO,
    each: Each = map,
) -> None:
    """Write a zip in VOC layout with splits `train` and `val`.

    Args:
        path: the zip to write.
        classes: the labelled classes; every picture shows at least one of them.
        pictures: how many, both splits together.
        size: side of every picture, pixels.
        seed: of all that is random.
        unlabelled: objects that the pictures show as well, labelled as background.
        held_out: share of the pictures in `val`.
        look: what the names mean, and how hard the pictures are.
        each: how they are drawn; by processes `look` must be picklable.
    """
    draw = partial(_draw_labelled, seed, size, tuple(classes), tuple(unlabelled), look)
    validation = round(pictures * held_out)
    splits: dict[str, list[str]] = {"train": [], "val": []}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, (picture, label) in enumerate(each(draw, range(pictures))):
            name = f"{number:04d}"
            splits["val" if number < validation else "train"].append(name)
            archive.writestr(f"JPEGImages/{name}.jpg", picture)
            archive.writestr(f"SegmentationClass/{name}.png", label)
        for split, members in splits.items():
            archive.writestr(f"ImageSets/Segmentation/{split}.txt", "\n".join(members) + "\n")
        lines = [f"{i} {name}" for i, name in enumerate(("background", *classes))]
        archive.writestr("classes.txt", "\n".join(lines) + "\n")


def draw_showcase(
    classes: Sequence[str],
    pictures: int,
    size: int,
    seed: int,
    always: Sequence[str] = (),
    each: Each = map,
) -> list[Scene]:
    """Draw pictures with full labels, drawn for no data set; object i + 1 is `classes[i]`.

    Every picture shows one of `always` at least, where it names any.
    """
    draw = partial(_draw_shown, seed, size, tuple(classes), tuple(always))
    return list(each(draw, range(pictures)))


def palette_png(label: NDArray[np.uint8]) -> bytes:
    """Encode class indices (h, w) as a PNG with the VOC palette."""
    picture = Image.fromarray(label, mode="P")
    picture.putpalette(_voc_palette())
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    """Encode a picture (h, w, 3) as JPEG."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=quality)
    return out.getvalue()


@cache
def _voc_palette() -> bytes:
    return bytes(channel for index in range(256) for channel in voc_colour(index))


def _draw_labelled(
    seed: int,
    size: int,
    classes: tuple[str, ...],
    unlabelled: tuple[str, ...],
    look: Look,
    number: int,
) -> tuple[bytes, bytes]:
    """Return one picture of a data set as JPEG, and its labels as PNG."""
    rng = np.random.default_rng((seed, number))
    scene = draw_scene(rng, size, (*classes, *unlabelled), classes, look)
    label = np.where(scene.objects <= len(classes), scene.objects, 0).astype(np.uint8)
    return jpeg(scene.picture, int(rng.integers(*JPEG_QUALITY))), palette_png(label)


def _draw_shown(
    seed: int, size: int, classes: tuple[str, ...], always: tuple[str, ...], number: int
) -> Scene:
    return draw_scene(np.random.default_rng((seed, number)), size, classes, always)


def _place(
    rng: np.random.Generator,
    canvas: Array,
    drawer: Drawer,
    share: float,
    taken: NDArray[np.uint8],
    value: int,
    most_covered: float,
) -> None:
    """Paint one object with its shadow onto `canvas` and into `taken`, if there is room for it."""
    side = canvas.shape[0]
    appearance = rng.bit_generator.random_raw()  # the same object at every place tried
    turn = rng.uniform(-LARGEST_TURN, LARGEST_TURN)
    scale = share * np.array([rng.choice([-1.0, 1.0]), rng.uniform(0.87, 1.15)], np.float32)
    sizes = np.bincount(taken.ravel(), minlength=256)
    for _ in range(_PLACES_TRIED):
        centre = rng.uniform(-1 + 0.7 * share, 1 - 0.7 * share, 2)
        window = _window(centre, share, side)
        x, y = (axis[window] for axis in grid(side))
        u, v = turned(x - np.float32(centre[0]), y - np.float32(centre[1]), turn)
        cover, colours = drawer(np.random.default_rng(appearance), u / scale[0], v / scale[1])
        hidden = np.bincount(taken[window][cover], minlength=256)
        if np.all(hidden[1:] <= most_covered * sizes[1:]):
            break
    else:
        return
    height, width = cover.shape
    speckle = fractal_noise(rng, max(height, width), (6, 20, 45))[:height, :width]
    texture = 0.9 + 0.2 * speckle
    here = canvas[window]
    here *= 1 - 0.5 * _shadow(cover, max(2, round(0.05 * share * side)))[..., None]
    soft = _blurred(cover.astype(np.float32), 0.7)[..., None]
    here += (colours * texture[..., None] - here) * soft
    taken[window][cover] = value


def _window(centre: NDArray[np.float64], share: float, side: int) -> tuple[slice, slice]:
    """Rows and columns that an object and its shadow can reach."""
    middle = (centre + 1) / 2 * side
    reach = 0.85 * share * side
    low = np.maximum(middle - reach, 0).astype(int)
    high = np.minimum(middle + reach, side).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _shadow(cover: NDArray[np.bool_], away: int) -> Array:
    shadow = np.zeros(cover.shape, np.float32)
    shadow[away:, away:] = cover[:-away, :-away]
    return _blurred(shadow, away)


def _blurred(values: Array, radius: float) -> Array:
    picture = Image.fromarray((values * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def _developed(rng: np.random.Generator, canvas: Array, size: int) -> NDArray[np.uint8]:
    """Light, sharpness and noise of a camera; (size, size, 3) uint8."""
    x, _ = turned(*grid(canvas.shape[0]), rng.uniform(0, 2 * np.pi))
    low, high = np.sort(rng.uniform(*LIGHT, 2))
    lit = canvas * (low + (high - low) * (x + 1) / 2)[..., None] * rng.uniform(0.94, 1.06, 3)
    small = Image.fromarray((lit.clip(0, 1) * 255).astype(np.uint8)).resize(
        (size, size), Image.Resampling.BOX
    )
    noisy = np.asarray(small, np.float32) / 255 + rng.normal(0, GRAIN, (size, size, 3))
    return (noisy.clip(0, 1) * 255).astype(np.uint8)
