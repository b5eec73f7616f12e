"""What each held-out picture says of a version; torch-free, as pages read it too."""

from sats_core.record import Record

HELD_OUT_SCORES = "held_out_scores.json"
"""The file of a version that holds them."""


class SetScores(Record):
    """What the pictures of one set of held-out pictures say of a version.

    Attributes:
        version: number of the version that the set came with; None: of the one that is scored.
        classes: what the set is labelled for.
        iou: of each picture, in the order in which the kept zip is read, its IoU of each of
            `classes`, 0..1; None where neither its label nor the version shows the class.
    """

    version: int | None
    classes: tuple[str, ...]
    iou: tuple[tuple[float | None, ...], ...]


class PictureScores(Record):
    """What every held-out picture says of a version, set by set."""

    sets: tuple[SetScores, ...]

    def of_earlier(self) -> "PictureScores":
        """Return those of sets that came with other versions, and are kept."""
        return PictureScores(sets=tuple(one for one in self.sets if one.version is not None))
