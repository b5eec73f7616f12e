"""A data set as a protocol sees it: which pictures train in which step, which validate."""

from collections.abc import Collection

import numpy as np

from benchmarks.learning_plan import PRESETS, Sequence
from sats_core.data.protocols import PROTOCOLS, Setting, step_pictures
from sats_core.data.readers import Reader


class Bench:
    """The pictures of a run.

    Attributes:
        reader: of the data set.
        steps: classes of each step.
        validation: ids of the pictures that score.
        shown: classes that each training picture shows.
    """

    def __init__(self, run: Sequence, reader: Reader) -> None:
        """Read what every training picture shows."""
        self.reader = reader
        self.steps = PROTOCOLS[run.protocol].steps(reader.classes)
        train = sorted(reader.splits["train"])
        if run.tuning:
            order = np.random.default_rng(20).permutation(len(train)).tolist()
            fold = set(order[: len(train) // 5])
            self.validation = tuple(train[i] for i in sorted(fold))
            train = [picture for i, picture in enumerate(train) if i not in fold]
        else:
            self.validation = tuple(reader.splits["val"])
        self.shown: dict[str, Collection[str]] = {i: reader.shown(reader.label(i)) for i in train}
        self._setting: Setting = run.setting
        self._most = PRESETS[run.preset].most_pictures

    def pictures(self, number: int) -> tuple[str, ...]:
        """Return the training pictures of a step."""
        found = step_pictures(self.shown, self.steps, number, self._setting)
        return found[: self._most] if number and self._most else found

    def everything(self) -> tuple[str, ...]:
        """Return the training pictures of all steps together."""
        known = set(self.classes)
        return tuple(i for i, names in self.shown.items() if known & set(names))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of all steps, in the order of learning."""
        return tuple(name for step in self.steps for name in step)
