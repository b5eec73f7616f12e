"""What is kept of a task's pictures for those after it."""

from pathlib import Path

from sats_core.record import Record


class HeldOutPictures(Record):
    """Held-out pictures of an earlier task: a zip in VOC layout and the classes it labels."""

    path: Path
    classes: tuple[str, ...]
    compared: bool = True
    """Whether copies of them among the training pictures are counted. The count tells whoever reads
    it that a picture is held out."""
    version: int | None = None
    """Number of the version that they came with, where there is one to tell."""


class MemoryRecord(Record):
    """What a version keeps of its training pictures, for replay in later steps."""

    pictures: int
    """In all; those that the version before kept count too."""
    classes: dict[str, int]
    """Pictures that show each class and are labelled for it."""
