"""What the service tells of classes that were taken away: what was measured, and no guarantee."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Piggyback:
    """How well fresh rows find the classes again on frozen features: mean IoU of them.

    Attributes:
        before: on the features of the version that they were taken from.
        after: on those of the new one.
        unaware: on those of a version that never saw them; None: there is none.
        gap_closed: (before - after) / (before - unaware); None where that says nothing.
        pictures: that the rows were taught on.
        scored_pictures: that they were scored on.
    """

    before: float
    after: float
    unaware: float | None
    gap_closed: float | None
    pictures: int
    scored_pictures: int


@dataclass(frozen=True)
class Membership:
    """How well the loss tells pictures that were trained on from others; 0.5 is a guess."""

    before: float
    after: float
    members: int
    others: int


@dataclass(frozen=True)
class Proof:
    """What was measured; None where nothing was at hand to measure it on.

    Attributes:
        pictures: what the training saw of the classes: `posted`, `kept`, `noise` or `none`.
        miou_before: of what stays, in the version before.
        miou_after: the same in the new one.
        to_background: share of the classes' pixels that are background now.
        piggyback: how well the classes are found again.
        membership: whether pictures can be told to have been trained on.
    """

    pictures: str
    miou_before: float | None
    miou_after: float | None
    to_background: float | None
    piggyback: Piggyback | None
    membership: Membership | None


@dataclass(frozen=True)
class Retirement:
    """What a version was made without.

    Attributes:
        retired: names of the classes.
        indices: mask values that they had; never given again.
        depth: `hide`, `unlearn` or `forget`.
        proof: what was measured.
        erasure: of `forget`: how far the deletion of pictures is; None: none was asked for.
        waits_for: where that is `waits` or `begun`, what for, and what to do about it; None: it is
            done, or the service is one from before it told.
        receipt: what was deleted, signed; None: nothing so far.
    """

    retired: tuple[str, ...]
    indices: tuple[int, ...]
    depth: str
    proof: Proof
    erasure: str | None = None
    waits_for: str | None = None
    receipt: Mapping[str, Any] | None = field(default=None, hash=False)
