"""Everything the core raises on purpose.

The message of each error is written for the person who posted the data, not for us.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong with a data set.

    Attributes:
        reason: what is wrong, one sentence.
        file: the file at fault, as it is named inside the data set.
        class_name: the class at fault.
        code: what is wrong in one word, for programs: "missing", "unknown", ...
    """

    reason: str
    file: str | None = None
    class_name: str | None = None
    code: str = "invalid"


class CoreError(Exception):
    """Root of the core's errors: wrong input, never a bug. Trying again gives the same."""


class DatasetError(CoreError):
    """A data set cannot be read or used; `issues` names every file or class at fault."""

    def __init__(self, message: str, issues: Sequence[Issue] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.issues = tuple(issues)


class PictureError(CoreError):
    """Bytes are no picture that can be read."""


class PictureTooLargeError(PictureError):
    """A picture has more pixels than the caller allows."""


class NothingLearnedError(CoreError):
    """A step's gradients are all zero: there is nothing to learn from it, or to find in it."""


class ModelError(CoreError):
    """A model cannot be built or loaded: unknown backbone, missing or damaged files."""


class ExportError(ModelError):
    """A trained model cannot be exported: no graph can be made of it, or one that differs."""


class ClassError(CoreError):
    """A class cannot be added to a catalogue: known already, too many, no name."""


class DivergedError(CoreError):
    """Training lost its way: a loss is no number any more. A smaller learning rate helps."""
