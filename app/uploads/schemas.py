"""What goes out of `/uploads`."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.errors.schemas import ErrorDetailJson


class UploadLinks(BaseModel):
    """Where to go from here."""

    self: str = Field(description="What is in it; add `?model=` for another model's classes.")
    tasks: str = Field(description="Where to post the token, as `upload`, in place of a file.")


class UploadBytes(BaseModel):
    """What tells a posted zip from others."""

    sha256: str


class UploadJson(BaseModel):
    """A stored zip that no task has yet."""

    upload: str = Field(description="Stands for it in `POST /tasks`; good for this key alone.")
    sha256: str = Field(description="Of its bytes, hex.")
    bytes: int = Field(description="How many it has.")
    expires_at: datetime = Field(description="Until when it is kept; a task keeps it longer.")
    links: UploadLinks = Field(description="Where to look next.")


class UploadedClass(BaseModel):
    """A class of an upload, in the pictures that were looked at."""

    name: str = Field(description="Its name.", examples=["sheep"])
    color: str = Field(description="Its colour in the contact sheet.", examples=["#800000"])
    known: bool = Field(
        description="Whether the version that a step would start from knows it: then it is not "
        "learned, and its labels count for nothing."
    )
    pictures: int = Field(description="Pictures that show it.")
    share: float = Field(description="Its share of all labelled pixels, 0..1.")
    share_where_shown: float | None = Field(
        description="Its share of a picture that shows it, mean over those; null: none does."
    )


class UploadReport(BaseModel):
    """What is in an upload, before anything is queued."""

    layout: str = Field(description="The layout that it was read in.", examples=["coco"])
    pictures: int = Field(description="Pictures with a label.")
    looked_at: int = Field(
        description="Of these so many were read, evenly over all: 200, or what ten seconds allow."
    )
    classes: list[UploadedClass] = Field(description="Every class that it lists.")
    splits: dict[str, int] = Field(description="Pictures of each split; empty: it has none.")
    held_out: int = Field(
        description="Pictures that a task with the default `held_out` would score on."
    )
    unpaired: int = Field(description="Pictures without a label, and labels without a picture.")
    duplicates: int = Field(description="Looked-at pictures that look the same as another one.")
    warnings: list[str] = Field(description="What somebody should know before posting it.")
    errors: list[ErrorDetailJson] = Field(
        description="What a task would fail with: pictures that cannot be read, or nothing to hold "
        "out or to train on."
    )
    starts_from: int | None = Field(
        description="Number of the version that a step would start from; null: the model has none, "
        "and the task would be its base step, or none is live, which a warning says."
    )
    estimated_seconds: float | None = Field(
        description="What a step by the default method would take, by the pace of steps that this "
        "service has done, of base steps where it would be one; null: none yet."
    )
    sheet: str | None = Field(
        description="Path of a contact sheet, a PNG of up to eight labelled pictures; null: none "
        "could be read."
    )
