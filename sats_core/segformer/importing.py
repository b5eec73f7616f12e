"""From a SegFormer checkpoint's directory to a model and its classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sats_core.classes import Catalogue
from sats_core.errors import ModelError
from sats_core.models import Segmenter, seeded_backbone
from sats_core.segformer import config, names, processor
from sats_core.segformer.config import Checkpoint, ClassOrder, read_checkpoint
from sats_core.segformer.files import checksum, load_tensors, weight_files
from sats_core.segformer.weights import as_float, check, from_hub, renamed, shapes_of

MARGIN = 10.0
"""By how much the background that never wins lies below the mean of all classes, in logits."""


@dataclass(frozen=True)
class Imported:
    """A checkpoint as a model of ours.

    Attributes:
        model: in evaluation mode, on the CPU; its classifier's channel 0 is the background.
        catalogue: its classes, all of step 0.
        checkpoint: what it said of itself.
        background: label that became the background; None where there is none.
        sha256: of the weight files.
    """

    model: Segmenter
    catalogue: Catalogue
    checkpoint: Checkpoint
    background: str | None
    sha256: str


def read_directory(directory: Path) -> Checkpoint:
    """Read what a checkpoint's directory says of it; no weights are opened.

    Raises:
        ModelError: see `read_checkpoint`.
    """
    said = _bytes(directory / config.FILE, config.MAX_BYTES)
    if said is None:
        raise ModelError(f"the checkpoint has no {config.FILE}")
    return read_checkpoint(said, _bytes(directory / processor.FILE, processor.MAX_BYTES))


def import_directory(
    directory: Path, background: str | None, indices: Sequence[int] | None, allow_pickle: bool
) -> Imported:
    """Build the model of a checkpoint.

    Args:
        directory: in Hugging Face's layout.
        background: which class is the background; see `Checkpoint.class_order`.
        indices: mask values of the foreground classes; by default 1, 2, ...
        allow_pickle: whether `pytorch_model.bin` may be read.

    Raises:
        ModelError: the checkpoint is incomplete, damaged, or not one that can be run here.
    """
    checkpoint = read_directory(directory)
    order = checkpoint.class_order(background)
    files = weight_files(directory, allow_pickle)
    tensors = renamed(load_tensors(files))
    encoder, picture = checkpoint.encoder, checkpoint.processor
    sizes = [len(order.foreground) + 1]
    model = Segmenter(seeded_backbone(encoder.backbone, 0), sizes, encoder.head_width, picture.view)
    check(tensors, shapes_of(model.state_dict(), len(checkpoint.labels)))
    ordered = with_background(as_float(tensors), order)
    model.load_state_dict(from_hub(ordered, model.state_dict(), sizes))
    model.backbone.mean, model.backbone.std = picture.mean, picture.std
    return Imported(
        model.eval(),
        Catalogue.empty().grow(order.foreground, indices),
        checkpoint,
        None if order.background is None else checkpoint.labels[order.background],
        checksum(files),
    )


def with_background(tensors: dict[str, Tensor], order: ClassOrder) -> dict[str, Tensor]:
    """Return the tensors with the classifier's rows in our order, the background first.

    A checkpoint whose classes share out every pixel has no background. It gets a row that is the
    mean of all its rows, the bias `MARGIN` lower: its logit is the classes' mean logit less that
    margin, on any features whatever. The largest logit is at least the mean, so this row never
    wins, and its probability is below exp(-MARGIN) of the winner's, so that scores stay too. Yet
    it is an ordinary row of ordinary size: a step that labels background can teach it.

    Args:
        tensors: by classic names, complete.
        order: of the classes.
    """
    changed = {}
    for kind in ("weight", "bias"):
        rows = tensors[names.CLASSIFIER + kind]
        kept = rows[list(order.rows)]
        if order.background is not None:
            first = rows[order.background][None]
        else:
            first = rows.mean(dim=0, keepdim=True) - (MARGIN if kind == "bias" else 0.0)
        changed[names.CLASSIFIER + kind] = torch.cat([first, kept])
    return {**tensors, **changed}


def _bytes(path: Path, most: int) -> bytes | None:
    """Return a file's first bytes, one more than it may have; None where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error}") from error
