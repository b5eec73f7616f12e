"""Held-out pictures as the browser shows them: a picture, and its labels in colours."""

import io
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Path, Response
from PIL import Image

from app.admin.service import get_model
from app.db import Version, read_session
from app.http.dependencies import AppServices
from app.registry.held_out import read_held_out, standing_held_out
from app.registry.paths import ModelName, Number
from app.registry.service import get_version
from app.web.visitors import Administers, PageRoute
from sats_core.classes import BACKGROUND, IGNORE
from sats_core.data.pictures import Pixels
from sats_core.data.readers import LabelledPicture

SIDE = 512
"""Longest side of a picture that is shown, pixels."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/ui/models/{model}/versions/{number}/held-out/{position}/{what}")
def held_out_picture(
    _visitor: Administers,
    services: AppServices,
    model: ModelName,
    number: Number,
    position: Annotated[int, Path(ge=0, le=1_000_000)],
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
