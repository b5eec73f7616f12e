"""What the database keeps of a retirement: what was taken away, what was measured, what deleted.

Web-free, as all of this folder but what answers.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from app.db import Actor, ActorType
from sats_core import job as core
from sats_core.record import Record

GONE_BEFORE = "gone before: it was not there any more when this was to be deleted"
"""Of a zip of which a row says that it is kept."""


class Depth(StrEnum):
    """How thoroughly classes are taken away."""

    HIDE = "hide"  # their rows go, what they were is background
    UNLEARN = "unlearn"  # what stands for them in the features goes too
    FORGET = "forget"  # and the pictures that show them are deleted

    @property
    def of_core(self) -> core.Depth:
        """What the learning core does for it; the data is the service's business."""
        return core.Depth.HIDE if self == Depth.HIDE else core.Depth.UNLEARN


class Retirement(Record):
    """What a version was made without."""

    retired: tuple[str, ...]
    indices: tuple[int, ...]
    """Mask value that each of them had; never given again."""
    depth: Depth
    proof: core.Proof


class Deleted(Record):
    """Pictures that were deleted, as one zip held them."""

    what: Literal["replay_pictures", "held_out_pictures", "upload"] = Field(
        description="What they were kept as."
    )
    version: int | None = Field(description="Number of the version that kept them; null: a task.")
    task: str | None = Field(description="Id of the task that they were posted with; null: none.")
    place: Literal["blob_store", "memory_folder"] = Field(
        description="Where it lay: among all blobs, or in the folder of SATS_MEMORY_DIR."
    )
    sha256: str = Field(description="Checksum of the zip, hex.")
    bytes: int | None = Field(
        description="Its size; null: nobody can tell, as it was gone before: `note` says so."
    )
    pictures: tuple[str, ...] | None = Field(
        description="Checksum of each picture file in it that was deleted, hex; null: all of them, "
        "and nobody looked at what they show."
    )
    left: int = Field(
        description="Pictures of the zip that show none of the classes, by their labels, and stay."
    )
    replaced_by: str | None = Field(
        description="Checksum of the zip that they are in since; null: none is left."
    )
    gone: bool = Field(
        description="Whether the zip is deleted; false: somebody else keeps the very same bytes."
    )
    # Absent where there is none: receipts that were signed before have no such field.
    note: str | None = Field(
        None,
        exclude_if=lambda note: note is None,
        description="What else is to be said of it; left out: nothing.",
    )


class RetiredClass(Record):
    """A class that was taken away, and the mask value that it had."""

    name: str = Field(description="Its name.")
    index: int = Field(description="Its value in masks until then; never given again.")


class Person(Record):
    """Who did something, as in the audit log."""

    type: ActorType = Field(description="What kind of somebody.")
    name: str = Field(description="Of the key, the worker or the machine's user.")


def person(actor: Actor) -> Person:
    """Return somebody as a receipt names them."""
    return Person(type=actor.type, name=actor.name)


class Receipt(Record):
    """What a retirement deleted. Signed over everything but `signature`."""

    model: str = Field(description="The model.")
    version: int = Field(description="The version that was made without the classes.")
    parent: int = Field(description="The version that they were taken from.")
    task: str = Field(description="Id of the task.")
    classes: tuple[RetiredClass, ...] = Field(description="What was taken away.")
    asked_by: Person = Field(description="Who posted the task.")
    deleted_by: Person = Field(description="The worker that deleted.")
    at: datetime = Field(description="When it was done.")
    deleted: tuple[Deleted, ...] = Field(description="What was deleted; empty: nothing was kept.")
    kept: tuple[str, ...] = Field(
        description="What still holds something of the classes, or was not looked at, and why."
    )
    signature: str | None = Field(
        None,
        description="HMAC-SHA256, hex, of the rest as JSON with sorted keys and without spaces; "
        "its key is HMAC-SHA256 of `receipt of a retirement` under the service's secret.",
    )
