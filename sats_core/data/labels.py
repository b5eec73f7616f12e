"""Masking labels by step: the step's classes and nothing else."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sats_core.classes import BACKGROUND, IGNORE

Lookup = NDArray[np.uint8]


def step_lookup(dataset_classes: Sequence[str], channels: Mapping[str, int]) -> Lookup:
    """Return a table (256,) that turns a data set's labels into a step's (overlapped protocol).

    A class of the step becomes its output channel; every other one, old or unknown, becomes
    background; ignored stays ignored.

    Args:
        dataset_classes: names of labels 1, 2, ... of the data set.
        channels: output channel of each class of the step.
    """
    lookup = np.full(256, BACKGROUND, dtype=np.uint8)
    for label, name in enumerate(dataset_classes, start=1):
        lookup[label] = channels.get(name, BACKGROUND)
    lookup[IGNORE] = IGNORE
    return lookup


def labelled_lookup(channels: Iterable[int]) -> Lookup:
    """Return a table (256,) that turns predictions on classes outside `channels` to background.

    Pictures labelled for some classes only say nothing of others: predicting one of those counts
    as background there.
    """
    lookup = np.full(256, BACKGROUND, dtype=np.uint8)
    for channel in channels:
        lookup[channel] = channel
    return lookup
