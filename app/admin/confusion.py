"""What a version takes the pixels of each class for, as `/admin` shows it."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from app.db import Version
from app.errors import NotFoundProblem
from app.records.stored import shown
from sats_core.evaluation.scores import Confusion


class ConfusedJson(BaseModel):
    """A class that is taken for another one."""

    truth: str = Field(description="What pixels are labelled as.", examples=["sheep"])
    predicted: str = Field(description="What the version takes them for.", examples=["cow"])
    pixels: int = Field(description="How many.", examples=[512])
    share: float = Field(
        description="Share of all pixels that are labelled as `truth`.", examples=[0.125]
    )
    share_before: float | None = Field(
        description="The same share in the parent, on the same pictures; null: it has none.",
        examples=[0.0625],
    )


class ConfusionJson(BaseModel):
    """What a version takes the pixels of its held-out pictures for, and what its parent did.

    A pixel that is labelled as a class counts by whatever it is taken for. Where a picture has no
    label, only the classes that its task labelled count, any other prediction as background.
    """

    version: int = Field(description="The version.", examples=[2])
    parent: int | None = Field(
        description="The version that `before` is of; null: none.", examples=[1]
    )
    pictures: int = Field(description="Held-out pictures that were counted.", examples=[60])
    largest: list[ConfusedJson] = Field(
        description="Pairs of classes that are confused, the largest `share` first."
    )
    classes: list[str] = Field(
        description="Names of the rows and columns below.",
        examples=[["background", "sheep", "cow"]],
    )
    pixels: list[list[int]] = Field(
        description="Pixels by true class (rows) and predicted class (columns).",
        examples=[[[90210, 118, 64], [96, 3488, 512], [72, 40, 2210]]],
    )
    before: list[list[int]] | None = Field(
        description="The same of the parent, which predicts none of the step's new classes; null: "
        "it has none.",
        examples=[[[90290, 102, 0], [212, 3628, 256], [2322, 0, 0]]],
    )


def confusion_of(version: Version) -> Confusion:
    """Return what a version takes classes for.

    Raises:
        NotFoundProblem: it was scored on no picture, or made before this was kept.
    """
    found = shown(Confusion, version.confusion)
    if found is not None:
        return found
    why = "it was made before they were kept"
    if not version.scores.get("pictures"):
        why = "it was scored on no picture"
    raise NotFoundProblem(f"version {version.number} has no confusion matrix: {why}")


def describe_confusion(version: Version, parent: int | None, limit: int) -> ConfusionJson:
    """Return how a version's confusion matrix looks over HTTP, with this many pairs at most.

    Raises:
        NotFoundProblem: as `confusion_of`.
    """
    found = confusion_of(version)
    return ConfusionJson(
        version=version.number,
        parent=None if found.before is None else parent,
        pictures=found.pictures,
        largest=largest(found, limit),
        classes=list(found.classes),
        pixels=[list(row) for row in found.pixels],
        before=None if found.before is None else [list(row) for row in found.before],
    )


def largest(confusion: Confusion, limit: int) -> list[ConfusedJson]:
    """Return the pairs of classes of which the largest share of the true one's pixels is confused.

    Pairs with the same share stand in the order of the classes.
    """
    pixels = np.array(confusion.pixels, np.int64)
    now = _shares(pixels)
    before = None if confusion.before is None else _shares(np.array(confusion.before, np.int64))
    order = np.argsort(-now, axis=None, kind="stable")[:limit]
    places = zip(*np.unravel_index(order, now.shape), strict=True)
    return [
        ConfusedJson(
            truth=confusion.classes[truth],
            predicted=confusion.classes[predicted],
            pixels=int(pixels[truth, predicted]),
            share=float(now[truth, predicted]),
            share_before=None if before is None else float(before[truth, predicted]),
        )
        for truth, predicted in places
        if now[truth, predicted] > 0
    ]


def _shares(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return which share of each row is in each column, 0 on the diagonal, (C, C)."""
    shares: NDArray[np.float64] = pixels / np.maximum(pixels.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    return shares
