"""Held-out pictures as the browser shows them: which are the worst, one of them, and its labels."""

import io
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Path, Query, Response
from PIL import Image
from pydantic import BaseModel

from app.admin.service import get_model
from app.db import Version, read_session
from app.errors import NotFoundProblem
from app.http.dependencies import AppServices
from app.registry.held_out import read_held_out, standing_held_out
from app.registry.paths import ModelName, Number
from app.registry.ranking import (
    RankedPicture,
    Scored,
    kept_sets,
    picture_scores,
    worst_first,
)
from app.registry.schemas import Named
from app.registry.service import get_version
from app.web.visitors import Administers, PageRoute
from sats_core.classes import BACKGROUND, IGNORE
from sats_core.data.pictures import Pixels
from sats_core.data.readers import LabelledPicture

SIDE = 512
"""Longest side of a picture that is shown, pixels."""
SHOWN = 6
"""Pictures that are shown at once."""
MOST = 1_000_000
"""Position of a picture that may be asked for; no set has as many."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


class Worst(BaseModel):
    """Some of the held-out pictures that a version is scored on, the worst first.

    Attributes:
        classes: that pictures are ranked by.
        pictures: what is shown now.
        out_of: how many are ranked.
        following: where the next ones begin; None: there are no more.
    """

    classes: list[str]
    pictures: list[RankedPicture]
    out_of: int
    following: int | None


@router.get("/ui/models/{model}/versions/{number}/held-out")
def worst_pictures(
    _visitor: Administers,
    services: AppServices,
    model: ModelName,
    number: Number,
    by: Annotated[Named | None, Query()] = None,
    begin: Annotated[int, Query(ge=0, le=MOST)] = 0,
) -> Worst:
    """Return which held-out pictures a version does worst on, of all classes or of one.

    Raises:
        NotFoundProblem: there is no such version, or it was deleted.
    """
    with read_session(services.engine) as session:  # it is not held while the file is fetched
        version = get_version(session, get_model(session, model).id, number)
        kept = kept_sets(session, version)
    if version.deleted_at is not None:
        raise NotFoundProblem(f"version {number} was deleted")
    ranked = worst_first(Scored(model, number, kept, picture_scores(services.blobs, version)), by)
    end = begin + SHOWN
    return Worst(
        classes=sorted({name for one in kept for name in one.classes}),
        pictures=ranked[begin:end],
        out_of=len(ranked),
        following=end if end < len(ranked) else None,
    )


@router.get("/ui/models/{model}/versions/{number}/held-out/{position}/{what}")
def held_out_picture(
    _visitor: Administers,
    services: AppServices,
    model: ModelName,
    number: Number,
    position: Annotated[int, Path(ge=0, le=MOST)],
    what: Literal["picture", "truth", "labels"],
) -> Response:
    """Return a held-out picture, or its labels.

    `truth` has each class in its colour, all else transparent; `labels` the version's indices in
    grey, 255 where a picture is not labelled, or labelled as what the version does not know.

    Raises:
        NotFoundProblem: there is no such picture, or it was deleted.
    """
    with read_session(services.engine) as session:  # it is not held while a picture is decoded
        version = get_version(session, get_model(session, model).id, number)
        kept = standing_held_out(session, version)
    found, classes = read_held_out(services.blobs, services.settings.limits, kept, position)
    if what == "picture":
        image = _picture(found)
    else:
        image = (_truth if what == "truth" else _labels)(found, classes, version)
    out = io.BytesIO()
    image.save(out, "PNG")
    return Response(out.getvalue(), media_type="image/png", headers={"Cache-Control": "no-store"})


def _picture(found: LabelledPicture) -> Image.Image:
    image = Image.fromarray(found.picture)
    image.thumbnail((SIDE, SIDE))
    return image


def _truth(found: LabelledPicture, classes: Sequence[str], version: Version) -> Image.Image:
    colours = {str(entry["name"]): entry["colour"] for entry in version.classes}
    table = np.zeros((256, 4), np.uint8)
    for value, name in enumerate(classes, 1):
        if name in colours:
            table[value] = [*colours[name], 255]
    return Image.fromarray(table[_small(found)], "RGBA")


def _labels(found: LabelledPicture, classes: Sequence[str], version: Version) -> Image.Image:
    indices = {str(entry["name"]): int(entry["index"]) for entry in version.classes}
    table = np.full(256, IGNORE, np.uint8)
    table[BACKGROUND] = BACKGROUND
    for value, name in enumerate(classes, 1):
        table[value] = indices.get(name, IGNORE)
    return Image.fromarray(table[_small(found)])


def _small(found: LabelledPicture) -> Pixels:
    label = Image.fromarray(found.label)
    label.thumbnail((SIDE, SIDE), Image.Resampling.NEAREST)
    return np.asarray(label)
