"""What an audit of gradients is asked for and what it says; torch-free."""

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field

from sats_core.record import Record

LEAST_SIDE, MOST_SIDE = 32, 256
MOST_ITERATIONS = 100_000
NO_GUARANTEE = (
    "This is what one attack found on one picture: no guarantee, and no claim of privacy. The "
    "attacker is given the labels. Other attacks, other pictures or more iterations may find more."
)


class Attack(StrEnum):
    """A step on one picture, and what whoever sees its gradients knows of its dropout."""

    BARE = "no dropout"
    IGNORED = "dropout, mask ignored"
    GUESSED = "dropout, mask guessed along"
    READ = "dropout, mask read off"


class LeakageJob(Record):
    """An audit of one version's gradients, complete."""

    version: Path
    """Its directory."""
    picture: Path | None = None
    """None: one is drawn."""
    labels: Path | None = None
    """PNG of class indices, of the picture's size. None: what the version itself predicts."""
    unrelated: Path | None = None
    """Another picture, a mark to measure by; None: there is none."""
    size: int = Field(LEAST_SIDE, ge=LEAST_SIDE, le=MOST_SIDE, multiple_of=LEAST_SIDE)
    """Side of the square that the step sees, pixels."""
    iterations: int = Field(300, ge=1, le=MOST_ITERATIONS)
    """Of each attack."""
    seed: int = Field(0, ge=0)
    """Of the drawn picture, the dropout and where attacks start."""
    out: Path
    """Directory of `report.json` and the pictures; it must be there."""


class Similarity(Record):
    """How like the picture something is."""

    psnr: float
    """Decibels; 100 at most."""
    ssim: float


class AttackFound(Record):
    """What an attack came to."""

    attack: Attack
    file: str
    """The reconstruction, a PNG beside the report."""
    similarity: Similarity
    distance_at_start: float
    """One less the cosine of the step's gradients and those of the noise that it starts from."""
    distance: float
    """At the last iteration."""
    mask_agrees: float | None
    """Share of the channels of which the attacker has right whether they were dropped; None where
    nothing was dropped or the attacker did not ask."""
    seconds: float


class LeakageReport(Record):
    """What was measured of one picture; no guarantee."""

    picture: str
    """File name; `drawn`."""
    labels: Literal["given", "predicted", "drawn"]
    classes: tuple[str, ...]
    """That the labels show, background included."""
    size: int
    iterations: int
    seed: int
    dropped: int
    """Channels that the dropout took, of `channels`."""
    channels: int
    marks: dict[str, Similarity]
    """What needs no gradients. `flat`: the picture's mean colour; `painted`: each labelled region
    in its mean colour; `noise`: such as attacks start from; `unrelated`: another picture."""
    attacks: tuple[AttackFound, ...]
    note: str = NO_GUARANTEE
