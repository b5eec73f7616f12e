"""Segments pictures with a version's graph. Needs numpy, Pillow and onnxruntime, nothing else.

It is copied into every model that is mirrored, under a name that says its content, and stands
alone: nothing of the service is imported. Masks are those of `POST /segment`.
"""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import ExifTags, Image

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

TURNS: dict[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by EXIF orientation."""
_LYING = [TURNS[number] for number in (5, 6, 7, 8)]
MULTIPLE = 32
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""Those of the service. TensorRT, where it is there, would build for minutes before it answers."""
TILE = 128
"""Side of the squares that masks are made in, pixels."""


def _load_pyfunc(path: str) -> "Segmenter":
    """Load a model; MLflow calls this, with the folder that graph and config lie in."""
    return Segmenter(Path(path))


class Segmenter:
    """A version, loaded.

    Args:
        folder: holds `model.onnx` and `config.json`.
    """

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_bytes())
        config = config.get("sats", config)  # of a Hugging Face directory ours is one key
        self.classes = {int(one["index"]): str(one["name"]) for one in config["classes"]}
        """Names of the classes by their value in masks."""
        self._indices = np.array([one["index"] for one in config["classes"]], dtype=np.uint8)
        self._view = config.get("view") or {"longest": config["size"]}
        mean, std = np.array(config["image_mean"]), np.array(config["image_std"])
        self._scale = (1 / (255 * std)).astype(np.float32)
        self._shift = (mean / std).astype(np.float32)
        there = onnxruntime.get_available_providers()
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), providers=[one for one in PROVIDERS if one in there]
        )

    def predict(self, model_input: Any) -> list[Pixels]:
        """Return a mask (H, W) uint8 of every picture, at its own size: class indices.

        Args:
            model_input: a picture or several: the bytes of a file, the same in base64, an array
                (H, W, 3) uint8, or a Pillow image; in a list, or in the first column of a table.
        """
        return [self._mask(_picture(one)) for one in _pictures(model_input)]

    def _mask(self, picture: Image.Image) -> Pixels:
        turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
        lies = turn is not None and turn in _LYING
        own = (picture.width, picture.height) if lies else (picture.height, picture.width)
        height, width = _shown(self._view, *own)
        # Turned after it is resized, as the service does it: the other way, colours differ by one.
        size = (height, width) if lies else (width, height)
        small = _as_rgb(picture).resize(size, Image.Resampling.BILINEAR)
        seen = np.asarray(small if turn is None else small.transpose(turn))
        room = _room(self._view, height, width)
        pixels = np.zeros((1, 3, *room), dtype=np.float32)
        normalised = seen.astype(np.float32)
        normalised *= self._scale
        normalised -= self._shift
        pixels[0, :, :height, :width] = normalised.transpose(2, 0, 1)
        (logits,) = self._session.run(["logits"], {"pixel_values": pixels})[0]
        shown = logits.shape[1] * height / room[0], logits.shape[2] * width / room[1]
        return self._indices.take(_best(logits, shown, own))


def _pictures(given: Any) -> Sequence[Any]:
    if hasattr(given, "iloc"):  # a table or a column of pandas'
        column = given.iloc[:, 0] if given.ndim == 2 else given
        return list(column)
    if isinstance(given, dict):
        return _pictures(next(iter(given.values())))
    if isinstance(given, np.ndarray) and given.ndim == 4:
        return list(given)
    return list(given) if isinstance(given, list | tuple) else [given]


def _picture(given: Any) -> Image.Image:
    if isinstance(given, np.ndarray):
        return Image.fromarray(given, "RGB")
    if isinstance(given, str):
        given = base64.b64decode(given, validate=True)
    return given if isinstance(given, Image.Image) else Image.open(io.BytesIO(given))


def _as_rgb(image: Image.Image) -> Image.Image:
    """Return a picture in colour, what is transparent over white."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _shown(view: dict[str, Any], height: int, width: int) -> tuple[int, int]:
    """Return the (height, width) at which a picture of that size is seen."""
    if view.get("stretch"):
        rows, columns = view["stretch"]
        return rows, columns
    if view.get("inside"):
        scale = min(view["inside"] / height, view["inside"] / width)
        return max(1, int(height * scale)), max(1, int(width * scale))
    scale = view["longest"] / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _room(view: dict[str, Any], height: int, width: int) -> tuple[int, int]:
    """Return the (height, width) of the graph's input."""
    if view.get("longest"):
        return -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE
    return max(MULTIPLE, height), max(MULTIPLE, width)


def _best(logits: Floats, shown: tuple[float, float], size: tuple[int, int]) -> NDArray[np.intp]:
    """Return the best channel of every pixel, of logits enlarged bilinearly, tile by tile."""
    best = np.empty(size, dtype=np.intp)
    down = _places(size[0], shown[0], logits.shape[1])
    across = _places(size[1], shown[1], logits.shape[2])
    for top in range(0, size[0], TILE):
        before, after, share = (one[top : top + TILE] for one in down)
        rows = slice(before[0], after[-1] + 1)
        for left in range(0, size[1], TILE):
            columns = [one[left : left + TILE] for one in across]
            wide = _between(logits[:, rows], *columns)
            tall = _between(wide.transpose(0, 2, 1), before - rows.start, after - rows.start, share)
            best[top : top + TILE, left : left + TILE] = tall.argmax(axis=0).T
    return best


def _places(pixels: int, shown: float, points: int) -> tuple[Any, Any, Floats]:
    """Return between which points of the grid each pixel lies, and how far along."""
    centres = np.clip((np.arange(pixels) + 0.5) * (shown / pixels) - 0.5, 0, points - 1)
    before = centres.astype(np.intp)
    share = (centres - before).astype(np.float32)
    return before, np.minimum(before + 1, points - 1), share


def _between(values: Floats, before: Any, after: Any, share: Floats) -> Floats:
    """Return what lies between points of the last axis."""
    first = values[..., before]
    mixed: Floats = first + (values[..., after] - first) * share
    return mixed
