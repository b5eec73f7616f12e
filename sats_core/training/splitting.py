"""Which of the posted pictures are held out. Torch-free: it is told before anything is posted."""

from dataclasses import dataclass

import numpy as np

from sats_core.data.readers import Reader
from sats_core.data.readers.paired import SPLIT_FOLDERS
from sats_core.errors import DatasetError
from sats_core.job import HeldOutChoice

TEST = "test"
"""The split that is kept for its owner's own use: never trained on beside other pictures."""


@dataclass(frozen=True)
class Split:
    """Ids of the pictures that are trained on, of those that only score, and of the `test` split's
    pictures that are neither."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    unused: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What of the data set goes unused, a sentence each."""
        if not self.unused:
            return ()
        count = f"{len(self.unused)} picture{'s' if len(self.unused) > 1 else ''}"
        return (
            f"{count} of the split {TEST!r} left unused, neither trained on nor scored on; "
            f"held_out.split {TEST!r} holds the split out",
        )


def choose_split(reader: Reader, choice: HeldOutChoice, seed: int) -> Split:
    """Decide which pictures are held out.

    The split that the choice names, `Validation` for `val` too; else the data set's `val`; else a
    seeded share of all. Training takes the data set's `train` where there is one, else all others.
    Pictures of a split `test` that is not held out are left unused where there are others.

    Raises:
        DatasetError: no such split, or nothing left on one side.
    """
    name = choice.split or ("val" if "val" in reader.splits else None)
    if name is not None and name not in reader.splits:
        name = SPLIT_FOLDERS.get(name.lower(), name)
    tested = set(reader.splits.get(TEST, ()))
    others = tuple(picture for picture in reader.ids if picture not in tested)
    if name is None:
        held_out = _drawn(others or reader.ids, choice.share, seed)
    elif name in reader.splits:
        held_out = tuple(reader.splits[name])
    else:
        known = ", ".join(sorted(reader.splits)) or "none"
        message = f"the data set has no split {choice.split!r} to hold out; it has: {known}"
        raise DatasetError(message)
    unused = tuple(sorted(tested.difference(held_out))) if others else ()
    kept_apart = {*held_out, *unused}
    candidates = reader.splits.get("train", reader.ids) if name else reader.ids
    train = tuple(picture for picture in candidates if picture not in kept_apart)
    if not train or not held_out:
        aside = f" ({len(unused)} of the split {TEST!r} are not trained on)" if unused else ""
        raise DatasetError(
            f"{len(train)} pictures to train on and {len(held_out)} held out: each needs one{aside}"
        )
    return Split(train, held_out, unused)


def _drawn(ids: tuple[str, ...], share: float, seed: int) -> tuple[str, ...]:
    count = max(1, round(len(ids) * share))
    picked = np.random.default_rng(seed).permutation(len(ids))[:count]
    return tuple(ids[i] for i in sorted(picked.tolist()))
