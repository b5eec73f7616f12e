"""Which of the posted pictures are held out. Torch-free: it is told before anything is posted."""

from dataclasses import dataclass

import numpy as np

from sats_core.data.readers import Reader
from sats_core.data.readers.paired import SPLIT_FOLDERS
from sats_core.errors import DatasetError
from sats_core.job import HeldOutChoice


@dataclass(frozen=True)
class Split:
    """Ids of the pictures that are trained on and of those that only score."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


def choose_split(reader: Reader, choice: HeldOutChoice, seed: int) -> Split:
    """Decide which pictures are held out.

    The split that the choice names, `Validation` for `val` too; else the data set's `val`; else a
    seeded share of all. Training takes the data set's `train` where there is one, else all others.

    Raises:
        DatasetError: no such split, or nothing left on one side.
    """
    name = choice.split or ("val" if "val" in reader.splits else None)
    if name is not None and name not in reader.splits:
        name = SPLIT_FOLDERS.get(name.lower(), name)
    if name is None:
        held_out = _drawn(reader.ids, choice.share, seed)
    elif name in reader.splits:
        held_out = tuple(reader.splits[name])
    else:
        known = ", ".join(sorted(reader.splits)) or "none"
        message = f"the data set has no split {choice.split!r} to hold out; it has: {known}"
        raise DatasetError(message)
    kept_apart = set(held_out)
    candidates = reader.splits.get("train", reader.ids) if name else reader.ids
    train = tuple(picture for picture in candidates if picture not in kept_apart)
    if not train or not held_out:
        raise DatasetError(
            f"{len(train)} pictures to train on and {len(held_out)} held out: each needs one"
        )
    return Split(train, held_out)


def _drawn(ids: tuple[str, ...], share: float, seed: int) -> tuple[str, ...]:
    count = max(1, round(len(ids) * share))
    picked = np.random.default_rng(seed).permutation(len(ids))[:count]
    return tuple(ids[i] for i in sorted(picked.tolist()))
