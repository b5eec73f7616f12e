"""In what parts a batch is computed: as few as fit into memory."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from sats_core.data.batches import Batch
from sats_core.settings import LEAST_BATCH, StepSettings
from sats_core.training.failures import lacks_memory
from sats_core.training.memory_use import MemoryUse
from sats_core.training.ranks import Ranks

SAFE = 0.9
"""Of the free memory that a step may take: what is measured once is not all that ever happens."""
GIB = 2**30


class Division(NamedTuple):
    """How a rank computes its share of a batch.

    Attributes:
        parts: one after another, their gradients summed.
        recompute: whether blocks are computed again in the backward pass instead of kept.
        because: what to tell of it; None where the settings say so, or nothing is divided.
    """

    parts: int = 1
    recompute: bool = False
    because: str | None = None

    def parts_of(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor, bool]]:
        """Yield pictures and labels of each part, and whether it is the last one."""
        shares = (tensor.tensor_split(self.parts) for tensor in batch)
        for number, (pictures, labels) in enumerate(zip(*shares, strict=True), start=1):
            yield pictures, labels, number == self.parts


UNDIVIDED = Division()


@dataclass(frozen=True)
class Divider:
    """Finds the division of a step.

    Attributes:
        settings: of the step; what they say of it is done.
        pictures: in a whole batch.
        base: whether it is a base step, whose norm learns the statistics of what is computed at
            once: there activations are rather computed twice than a batch divided.
        halvings: how often memory ran out before.
        ranks: who shares a batch; all of them divide it alike.
        try_out: makes the gradients of so many pictures, recomputing or not, and forgets them.
        use: measures memory; None where that cannot be.
        later: bytes that training takes from its first step on and no try does.
    """

    settings: StepSettings
    pictures: int
    base: bool
    halvings: int
    ranks: Ranks
    try_out: Callable[[int, bool], None]
    use: MemoryUse | None
    later: int

    def find(self) -> Division:
        """Return the division that this rank and all others use."""
        afforded = self._afforded()
        # Who has the least room decides for all: ranks meet in every pass.
        at_once = self.ranks.least(afforded.at_once)
        recompute = not self.ranks.agree(not afforded.recompute)
        asked, most = self.settings.accumulate or 1, self.pictures // self.ranks.count
        parts = min(max(asked, -(-self._share // at_once)), max(most, 1))
        own_choice = parts > asked or recompute != bool(self.settings.checkpoint_activations)
        said = self._said(parts, recompute, afforded.why) if own_choice else None
        return Division(parts, recompute, said)

    @property
    def _share(self) -> int:
        """The most pictures of a batch that any rank has."""
        return -(-self.pictures // self.ranks.count)

    @property
    def _least(self) -> int:
        """The fewest pictures that are computed at once."""
        return min(self._share, LEAST_BATCH if self.base else 1)

    def _afforded(self) -> "_Afforded":
        """Return what this rank has room for."""
        accumulate, ways = self.settings.accumulate, self._ways()
        most = max(self._least, self._share >> self.halvings)
        if accumulate is not None:
            most = min(most, -(-self._share // accumulate))
        if self.use is None or (accumulate is not None and len(ways) == 1):
            return _Afforded(most, ways[0])
        enough = most if self.base or accumulate is not None else self._least
        why = None
        for recompute in ways:
            room = self._room(self.use, recompute)
            why = why or room.why_not(most)
            if room.pictures >= enough:
                break
        return _Afforded(max(self._least, min(most, room.pictures)), room.recompute, why)

    def _ways(self) -> tuple[bool, ...]:
        """Return whether to recompute: what comes into question, the faster first."""
        said = self.settings.checkpoint_activations
        if said is not None:
            return (said,)
        return (True,) if self.halvings else (False, True)

    def _room(self, use: MemoryUse, recompute: bool) -> "_Room":
        """Measure what one picture takes and what another one adds to it."""
        for _ in range(2):  # what is made once, workspaces and plans, is no picture's
            one = self._taken(use, 1, recompute)
        tell = self._share > 1 and math.isfinite(one)
        more = self._taken(use, 2, recompute) - one if tell else 0
        free = SAFE * use.free() / self.ranks.beside - self.later
        return _Room(one, max(more, 1), free, recompute)

    def _taken(self, use: MemoryUse, pictures: int, recompute: bool) -> float:
        try:
            return use.peak(lambda: self.try_out(pictures, recompute))
        except (RuntimeError, MemoryError) as error:
            if lacks_memory(error):
                return math.inf
            raise

    def _said(self, parts: int, recompute: bool, why: str | None) -> str:
        how = [f"in {parts} parts, one after another"] if parts > 1 else []
        how += ["with activations computed again in the backward pass"] if recompute else []
        batch = f"a batch of {self.pictures} pictures"
        if why is None:
            why = "memory ran out before" if self.halvings else "another rank has no room for more"
        said = f"{batch} is computed {' and '.join(how)}: {why}"
        if self.base and parts > 1:
            return f"{said}. Batch norm sees the statistics of a part, not of the batch"
        return said


class _Afforded(NamedTuple):
    at_once: int
    recompute: bool
    why: str | None = None


class _Room(NamedTuple):
    """What was measured, bytes; more than there is counts as infinite."""

    one: float
    more: float
    free: float
    recompute: bool

    @property
    def pictures(self) -> int:
        """How many fit at once."""
        if math.isinf(self.one) or self.free < self.one:
            return 0
        return 1 + int((self.free - self.one) // self.more)

    def why_not(self, pictures: int) -> str | None:
        """Return why so many do not fit at once; None: they do."""
        if self.pictures >= pictures:
            return None
        takes, free = (self.one + (pictures - 1) * self.more) / GIB, max(self.free, 0) / GIB
        if math.isinf(takes):
            return f"a try of {1 if math.isinf(self.one) else 2} at once ran out of memory"
        return f"{pictures} pictures at once would take {takes:.2g} GiB, {free:.2g} are free"
