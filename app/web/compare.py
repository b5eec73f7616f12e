"""`/ui/compare`: two versions side by side, of one model or of two."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.admin.schemas import VersionJson
from app.admin.service import describe_versions, get_model, list_models
from app.db import Version, read_session
from app.errors import NotFoundProblem
from app.http.dependencies import AppServices, ReadSession
from app.keys.service import check_model
from app.registry.ranking import (
    PairedPicture,
    Scored,
    every_set,
    kept_sets,
    most_different,
    picture_scores,
)
from app.registry.schemas import MAX_NUMBER, MODEL_PATTERN, Named
from app.registry.service import find_model, get_version, list_versions
from app.web.comparison import compare
from app.web.held_out import MOST, SHOWN
from app.web.rendering import page
from app.web.visitors import Administers, PageRoute, SeesVersions, Visitor

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_Number = Annotated[int | None, Query(ge=1, le=MAX_NUMBER)]
_Asked = Annotated[int, Query(ge=1, le=MAX_NUMBER)]
_Model = Annotated[str, Query(pattern=MODEL_PATTERN)]


class MostDifferent(BaseModel):
    """Some of the held-out pictures of two versions, the largest difference first.

    Attributes:
        classes: that pictures are ranked by.
        pictures: what is shown now: of those that are ranked, or all that were drawn of the others.
        out_of: how many are ranked or drawn.
        unscored: how many these were drawn from; 0 where what is shown now is ranked.
        following: where the next ones begin; None: there are no more.
    """

    classes: list[str]
    pictures: list[PairedPicture]
    out_of: int
    unscored: int
    following: int | None


@router.get("/ui/compare")
def compare_page(
    request: Request,
    visitor: SeesVersions,
    session: ReadSession,
    model: Annotated[str | None, Query(pattern=MODEL_PATTERN)] = None,
    version: _Number = None,
    other_model: Annotated[str | None, Query(pattern=MODEL_PATTERN)] = None,
    other: _Number = None,
) -> Response:
    """Compare two versions; without both let the visitor choose them.

    Raises:
        NotFoundProblem: there is no such model or version.
        ForbiddenProblem: the visitor's key is bound to other models.
    """
    for asked in filter(None, (model, other_model)):
        check_model(visitor.caller, asked)
    models = [one.name for one in list_models(session) if visitor.caller.reaches(one.name)]
    context: dict[str, object] = {"models": models, "comparison": None, "held_out": 0}
    if not models:
        return page(request, "compare.html", context)
    first = model or models[0]
    names = first, other_model or first
    context["names"] = names
    if version is None or other is None:
        numbers = _proposed(session, names, version, other)
        return page(request, "compare.html", {**context, "numbers": numbers})
    rows = _rows(session, names, (version, other))
    pair = _described(session, rows)
    return page(
        request,
        "compare.html",
        {
            **context,
            "numbers": (version, other),
            "comparison": compare(*pair),
            "held_out": _held_out(session, visitor, rows),
        },
    )


@router.get("/ui/compare/held-out")
def different_pictures(
    visitor: Administers,
    services: AppServices,
    model: _Model,
    version: _Asked,
    other_model: _Model,
    other: _Asked,
    by: Annotated[Named | None, Query()] = None,
    begin: Annotated[int, Query(ge=0, le=MOST)] = 0,
) -> MostDifferent:
    """Return on which held-out pictures two versions differ most, by all classes or by one.

    Raises:
        NotFoundProblem: there is no such version, or it was deleted.
        ForbiddenProblem: the visitor's key is bound to other models.
    """
    names = model, other_model
    for asked in names:
        check_model(visitor.caller, asked)
    with read_session(services.engine) as session:  # it is not held while files are fetched
        rows = _rows(session, names, (version, other))
        kept = [kept_sets(session, row) for row in rows]
    for row in rows:
        if row.deleted_at is not None:
            raise NotFoundProblem(f"version {row.number} was deleted")
    first, second = (
        Scored(name, row.number, sets, picture_scores(services.blobs, row))
        for name, row, sets in zip(names, rows, kept, strict=True)
    )
    found = most_different((first, second), by)
    ranked = len(found.ranked)
    pictures = [*found.ranked, *found.drawn]
    end = min(begin + SHOWN, ranked) if begin < ranked else len(pictures)
    return MostDifferent(
        classes=sorted({name for sets in kept for one in sets for name in one.classes}),
        pictures=pictures[begin:end],
        out_of=len(pictures),
        unscored=found.unscored if begin >= ranked else 0,
        following=end if end < len(pictures) else None,
    )


def _rows(session: Session, names: Sequence[str], numbers: Sequence[int]) -> list[Version]:
    ids = {name: get_model(session, name).id for name in names}
    return [
        get_version(session, ids[name], number) for name, number in zip(names, numbers, strict=True)
    ]


def _described(session: Session, rows: Sequence[Version]) -> list[VersionJson]:
    first, second = rows
    if first.model is second.model:
        return describe_versions(session, first.model, rows)
    return [describe_versions(session, row.model, [row])[0] for row in rows]


def _proposed(
    session: Session, names: tuple[str, str], version: int | None, other: int | None
) -> tuple[int | None, int | None]:
    """Return what was chosen, filled up by the newest versions of the models."""
    first, second = (_newest(session, name) for name in names)
    other = other or next((number for number in second if number != version), None)
    if version is None:
        same = names[0] == names[1]
        version = next((number for number in first if not same or number != other), None)
    return version, other


def _newest(session: Session, name: str) -> list[int]:
    model = find_model(session, name)
    return [one.number for one in list_versions(session, model.id, 2)] if model else []


def _held_out(session: Session, visitor: Visitor, rows: Sequence[Version]) -> int:
    """Return how many pictures are kept to ask both about; 0 where one cannot answer any more."""
    if not visitor.administers or any(row.deleted_at for row in rows):
        return 0
    kept = every_set((row.model.name, kept_sets(session, row)) for row in rows)
    return sum(one.pictures for one in kept.values())
