"""What steps, imports and retirements give back beside the version."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sats_core.data.labels import step_lookup
from sats_core.data.readers import EncodedPicture, Reader, write_voc_zip
from sats_core.data.transforms import MULTIPLE, Pixels
from sats_core.evaluation.predict import model_input
from sats_core.files import sync, write_whole
from sats_core.models import Segmenter
from sats_core.record import Record

RESULT = "result.json"
VERSION = "version"
HELD_OUT = "held_out.zip"
MOST_PROBES = 8
PROBE_SHAPES = ((480, 640), (900, 300))
"""Height and width of the pictures that are made up where none come along."""


def write_held_out(path: Path, reader: Reader, ids: Sequence[str], classes: Sequence[str]) -> None:
    """Write pictures to a zip in VOC layout, labelled for `classes` and for nothing else."""
    lookup = step_lookup(reader.classes, {name: i for i, name in enumerate(classes, start=1)})

    def kept() -> Iterator[EncodedPicture]:
        for picture_id in ids:
            encoded = reader.encoded(picture_id)
            yield EncodedPicture(encoded.id, encoded.suffix, encoded.data, lookup[encoded.label])

    write_voc_zip(path, kept(), classes)


def write_result(folder: Path, result: Record) -> None:
    """Write `result.json`, whole or not at all; the last thing that a job writes.

    Once it is on the disk, so is everything else that the job gives back.
    """
    for beside in filter(Path.is_file, folder.iterdir()):
        sync(beside)
    write_whole(folder / RESULT, result.model_dump_json(indent=2).encode() + b"\n")


def made_up_views() -> Iterator[Pixels]:
    """Yield noise and gradients, to compare graph and torch on where there are no pictures."""
    rng = np.random.default_rng(0)
    for height, width in PROBE_SHAPES:
        yield rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        rows, columns = np.mgrid[:height, :width]
        ramps = (rows * 255 // height, columns * 255 // width, (rows + columns) % 256)
        yield np.stack(ramps, axis=-1).astype(np.uint8)


def probes(model: Segmenter, size: int, pictures: Iterable[Pixels]) -> list[Tensor]:
    """Return inputs of different sizes and batches, on which the exported graph is checked.

    Args:
        model: on the CPU.
        size: longer side of what it sees, pixels.
        pictures: one at least.
    """
    views = [model_input(picture, size, model)[0] for picture in pictures]
    # Half the size is a quarter of the work, where that leaves enough for the deepest stage.
    scale = 0.5 if min(views[0].shape[-2:]) >= 2 * MULTIPLE else 2.0
    other = torch.nn.functional.interpolate(views[0], scale_factor=scale, mode="nearest")
    return [*views, torch.cat([other, other.flip(-1)])]
