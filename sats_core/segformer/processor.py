"""`preprocessor_config.json`: how a checkpoint's own pipeline shows it pictures; torch-free."""

import math
import reprlib
from typing import Any

from sats_core.data.transforms import View
from sats_core.errors import ModelError
from sats_core.record import Record
from sats_core.segformer.strict_json import read_object

FILE = "preprocessor_config.json"
MAX_BYTES = 2**18
MOST_PIXELS = 1024
"""Of either side of what a model sees: at 2,048 one attention map of the first stage takes 4 GB."""
LEAST = 1e-6
"""That values are divided by: by much less, none of them is a number any more."""
BILINEAR = 2
"""As Pillow and the file number it."""
SIZE = 512
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""What the library takes where the file says nothing."""

Triple = tuple[float, float, float]


class Processor(Record):
    """How pictures are shown to the model.

    Attributes:
        view: their size.
        mean, std: per RGB channel, for values 0..1, whatever the file's own scale of values is.
    """

    view: View
    mean: Triple
    std: Triple


def read_processor(data: bytes) -> Processor:
    """Read the file.

    Raises:
        ModelError: no such file, or it asks for something that is not done here; the message names
            the key and its value.
    """
    said = read_object(data, FILE, MAX_BYTES)
    for key, only in (("do_resize", True), ("do_center_crop", False), ("do_pad", False)):
        if bool(said.get(key, only)) is not only:
            raise _fault(key, said[key], f"only {str(only).lower()} can be served")
    if said.get("resample", BILINEAR) not in (BILINEAR, None):
        raise _fault("resample", said["resample"], "only 2, bilinear, can be served")
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if said.get("do_normalize", True):
        mean, std = _triple(said, "image_mean", MEAN), _triple(said, "image_std", STD)
        if min(std) < LEAST:
            raise _fault("image_std", said["image_std"], f"must be at least {LEAST:g}")
    factor = _number(said, "rescale_factor", 1 / 255) if said.get("do_rescale", True) else 1.0
    if factor < LEAST:
        raise _fault("rescale_factor", factor, f"must be at least {LEAST:g}")
    # (x f - m) / s, with x of 0..255, is (x / 255 - m / 255 f) / (s / 255 f).
    scale = 1.0 if math.isclose(255 * factor, 1.0) else 255 * factor
    return Processor(view=_view(said.get("size", SIZE)), mean=_by(mean, scale), std=_by(std, scale))


def _view(size: Any) -> View:
    if _is_side(size):
        return View(stretch=(size, size))
    if isinstance(size, dict):
        given = {key: value for key, value in size.items() if value is not None}
        match given:
            case {"height": height, "width": width} if len(given) == 2:
                if _is_side(height) and _is_side(width):
                    return View(stretch=(height, width))
            case {"max_height": height, "max_width": width} if len(given) == 2:
                if _is_side(height) and height == width:
                    return View(inside=height)
    raise _fault(
        "size",
        size,
        f"must give height and width, 32 to {MOST_PIXELS}, or max_height and max_width that are "
        "equal",
    )


def _is_side(value: Any) -> bool:
    return type(value) is int and 32 <= value <= MOST_PIXELS


def _number(said: dict[str, Any], key: str, default: float) -> float:
    value = said.get(key)
    if value is None:
        return default
    if type(value) not in (int, float) or not abs(value) < 1e6:
        raise _fault(key, value, "must be a number below a million")
    return float(value)


def _triple(said: dict[str, Any], key: str, default: Triple) -> Triple:
    value = said.get(key)
    if value is None:
        return default
    if type(value) in (int, float):
        value = [value] * 3
    if not isinstance(value, list) or len(value) != 3:
        raise _fault(key, value, "must be three numbers")
    red, green, blue = (_number({key: part}, key, math.nan) for part in value)
    if math.isnan(red + green + blue):
        raise _fault(key, value, "must be three numbers")
    return red, green, blue


def _by(values: Triple, scale: float) -> Triple:
    red, green, blue = (value / scale for value in values)
    return red, green, blue


def _fault(key: str, value: object, reason: str) -> ModelError:
    return ModelError(f"{FILE}: {key} is {reprlib.repr(value)}: {reason}")
