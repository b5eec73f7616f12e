"""What an imported version keeps of labelled pictures: features, as a step keeps them."""

from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor

from sats_core.classes import BACKGROUND
from sats_core.data.labels import step_lookup
from sats_core.data.readers import Reader
from sats_core.evaluation.held_out import HeldOut
from sats_core.evaluation.predict import labelled_input
from sats_core.methods.features import FeatureMemory
from sats_core.methods.sampling import ENOUGH, see
from sats_core.segformer.importing import Imported

TRAIN = "train"
"""Split whose pictures may teach later steps; those of others only score."""


def parted(reader: Reader) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return ids of the pictures that features may be drawn from, a thousand of them at most, and
    of those that score.

    The first are those of a `train` split that has others beside it; without one all score.
    """
    train = set(reader.splits.get(TRAIN, ()))
    others = tuple(picture for picture in reader.ids if picture not in train)
    if not others:
        return (), reader.ids
    taught = tuple(picture for picture in reader.ids if picture in train)
    chosen = np.linspace(0, len(taught) - 1, min(len(taught), ENOUGH)).astype(int)
    return tuple(taught[index] for index in chosen.tolist()), others


def remember(
    imported: Imported, pictures: HeldOut, most: int, seen: Callable[[], None]
) -> FeatureMemory | None:
    """Return what the version keeps of labelled pictures; None where that is nothing.

    Where they label only some of its classes, what they call background may be any other.

    Args:
        imported: the model.
        pictures: labelled ones, with those of its classes that they label.
        most: pixels to keep.
        seen: called after each picture.

    Raises:
        DatasetError: a picture cannot be read.
    """
    if not most or not pictures.ids:
        return None
    drawn = see(imported.model, None, _shown(imported, pictures, seen), most, seed=0)
    if drawn is None:
        return None
    catalogue = imported.catalogue
    whole = set(pictures.classes) >= set(catalogue.foreground)
    hides = BACKGROUND + 1 if whole else len(catalogue)
    return FeatureMemory.of(drawn.before, hides).thinned(most, seed=0)


def _shown(
    imported: Imported, pictures: HeldOut, seen: Callable[[], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each picture as the model sees it in evaluation, labels as channels."""
    channels = {name: imported.catalogue.channel(name) for name in pictures.classes}
    lookup = step_lookup(pictures.reader.classes, channels)
    size = imported.checkpoint.processor.view.side()
    for picture_id in pictures.ids:
        read = pictures.reader.read(picture_id)
        yield labelled_input(read.picture, lookup[read.label], size, imported.model)
        seen()
