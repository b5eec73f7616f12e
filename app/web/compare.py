"""`/ui/compare`: two versions side by side, of one model or of two."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from app.admin.schemas import VersionJson
from app.admin.service import describe_versions, get_model, list_models
from app.db import Version
from app.http.dependencies import ReadSession
from app.keys.service import check_model
from app.registry.held_out import Drawn, samples
from app.registry.schemas import MAX_NUMBER, MODEL_PATTERN
from app.registry.service import find_model, get_version, list_versions
from app.web.comparison import compare
from app.web.rendering import page
from app.web.visitors import PageRoute, SeesVersions, Visitor

LOOKED_AT, SHOWN = 18, 6
"""Held-out pictures that both versions are asked about, and how many of them are shown."""
NOTHING = Drawn((), 0)

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_Number = Annotated[int | None, Query(ge=1, le=MAX_NUMBER)]


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
    context: dict[str, object] = {"models": models, "comparison": None, "drawn": NOTHING}
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
            "drawn": _samples(session, visitor, rows),
            "shown": SHOWN,
        },
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


def _samples(session: Session, visitor: Visitor, rows: Sequence[Version]) -> Drawn:
    """Return held-out pictures to ask both about; none where one of them cannot answer any more."""
    if not visitor.administers or any(row.deleted_at for row in rows):
        return NOTHING
    return samples(session, rows, LOOKED_AT)
