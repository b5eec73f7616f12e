"""What comes out of `/classes`."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from sats_core.data.names import REFUSED
from sats_core.limits import MAX_INT32

MODEL_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,99}$"
"""What a model may be called."""

STORED_NAME_PATTERN = r"^[^\x00-\x1f\x7f]+$"
Named = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=STORED_NAME_PATTERN)]
"""What a class, a task or a source is called, in stored rows too: it never becomes stricter."""

NAME_PATTERN = rf"^[^{REFUSED}]+$"
PostedName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NAME_PATTERN)]
"""What a class or a task may be called from now on."""

MAX_NUMBER = MAX_INT32
"""Largest number that a version, an event, a key or a count can have: what a column holds."""


class LearnedClassJson(BaseModel):
    """A class that a version has learned."""

    index: int = Field(description="Its value in masks; never changes.", examples=[17])
    name: str = Field(description="Its name.", examples=["sheep"])
    color: str = Field(description="Its colour in palettes and overlays.", examples=["#804000"])
    version: int = Field(description="Number of the version that brought it.", examples=[2])


class ClassesJson(BaseModel):
    """Every class of a version."""

    model: str = Field(description="The model.", examples=["default"])
    version: int = Field(description="Number of the version.", examples=[2])
    classes: list[LearnedClassJson] = Field(
        description="Its classes in channel order; background, index 0, comes first."
    )


def hex_colour(colour: Sequence[int]) -> str:
    """Return three ints, 0..255, as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
