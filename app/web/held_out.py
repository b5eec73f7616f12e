"""Held-out pictures on the page of a version: what they show, beside what versions see."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Path, Response
from PIL import Image
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.admin.service import get_model
from app.db import HeldOutSet, Version, read_session
from app.errors import NotFoundProblem, problem_of
from app.http.dependencies import AppServices
from app.registry.paths import ModelName, Number
from app.registry.service import get_version, held_out_sets
from app.storage import BlobMissingError
from app.web.visitors import Administers, PageRoute
from sats_core.data.readers import LabelledPicture, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError

SHOWN = 6
SIDE = 512
"""Longest side of a picture that is shown, pixels."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True)
class Sample:
    """A held-out picture.

    Attributes:
        version: number of the version whose task it came with.
        position: in that version's set.
        classes: what the set is labelled for.
    """

    version: int
    position: int
    classes: Sequence[str]


def samples(session: Session, version: Version) -> list[Sample]:
    """Return some pictures that a version is scored on, from every task before it if there are few.

    The newest sets come first; of each as many as there is room for, evenly.
    """
    sets = [one for one in held_out_sets(session, version) if one.pictures][::-1][:SHOWN]
    if not sets:
        return []
    rows = select(Version.id, Version.number).where(Version.id.in_([s.version_id for s in sets]))
    numbers = {row.id: row.number for row in session.execute(rows)}
    each = SHOWN // len(sets)
    return [
        Sample(numbers[one.version_id], place * one.pictures // each, one.classes)
        for one in sets
        for place in range(min(each, one.pictures))
    ]


@router.get("/ui/models/{model}/versions/{number}/held-out/{position}/{what}")
def held_out_picture(
    _visitor: Administers,
    services: AppServices,
    model: ModelName,
    number: Number,
    position: Annotated[int, Path(ge=0, le=1_000_000)],
    what: Literal["picture", "truth"],
) -> Response:
    """Return a held-out picture, or its labels: each class in its colour, all else transparent.

    Raises:
        NotFoundProblem: there is no such picture, or it was deleted.
    """
    with read_session(services.engine) as session:  # it is not held while a picture is decoded
        version = get_version(session, get_model(session, model).id, number)
        kept = session.scalar(
            select(HeldOutSet).where(
                HeldOutSet.version_id == version.id, HeldOutSet.deleted_at.is_(None)
            )
        )
    if kept is None:
        raise NotFoundProblem(f"version {number} keeps no held-out pictures")
    try:
        with ZipSource(services.blobs.path(kept.blob), services.settings.limits) as source:
            reader = open_reader(source)
            if position >= len(reader.ids):
                raise NotFoundProblem(f"there are {len(reader.ids)} held-out pictures")
            found, classes = reader.read(reader.ids[position]), reader.classes
    except BlobMissingError as error:
        raise NotFoundProblem("the held-out pictures are gone") from error
    except DatasetError as error:
        raise problem_of(error) from error
    image = _picture(found) if what == "picture" else _truth(found, classes, version)
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
    label = Image.fromarray(found.label)
    label.thumbnail((SIDE, SIDE), Image.Resampling.NEAREST)
    return Image.fromarray(table[np.asarray(label)], "RGBA")
