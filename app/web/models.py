"""`/ui/models`: models, their versions, and one version with all that is known of it."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from app.admin.service import (
    describe_models,
    describe_versions,
    get_model,
    list_models,
    live_history,
)
from app.db import AliasMove, Model, Version
from app.http.dependencies import ReadSession
from app.http.parameters import Cursor
from app.records.paging import Listing
from app.records.stored import read_stored
from app.registry.descent import children, missing, unserved
from app.registry.moves import tag_of, version_before_live
from app.registry.paths import ModelName, Number
from app.registry.ranking import kept_sets
from app.registry.service import LIVE, get_version
from app.retirement.schemas import MOST_LOST
from app.web.confusions import confusions_of
from app.web.learned_from import data_set_of
from app.web.lineage import family, lanes, lanes_of
from app.web.listed import listed_versions
from app.web.ran_with import ran_with
from app.web.rendering import page
from app.web.verdicts import rows_of, verdict_of
from app.web.visitors import PageRoute, SeesVersions
from sats_core.evaluation.forgetting import ForgettingReport

A_PAGE = 25
MOVES = 8
VERSIONS = Listing("versions", int)

READINGS = {
    "forgetting": "What was forgotten",
    "lost": "Where lost pixels went",
    "false_positives": "New classes where they are not",
    "norm_ratio": "Weights",
    "regained": "What masking brings back",
    "alignment": "Features",
    "background_shift": "Background",
}
"""What the figures of a report are called."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/ui/models")
def models_page(request: Request, visitor: SeesVersions, session: ReadSession) -> Response:
    """List models; where there is one, show it."""
    found = [one for one in list_models(session) if visitor.caller.reaches(one.name)]
    if len(found) == 1:
        return RedirectResponse(f"/ui/models/{found[0].name}", 303)
    return page(request, "models.html", {"models": describe_models(session, found)})


@router.get("/ui/models/{model}")
def versions_page(
    request: Request,
    visitor: SeesVersions,
    session: ReadSession,
    model: ModelName,
    cursor: Cursor = None,
) -> Response:
    """List a model's versions, the newest first, with how each came of another."""
    found = get_model(session, model)
    listed = listed_versions(session, found.id, A_PAGE + 1, VERSIONS.read(cursor))
    versions, following = VERSIONS.cut(listed, A_PAGE, lambda version: version.number)
    moves = live_history(session, found, MOVES)
    drawn = lanes([(one.number, one.parent) for one in versions])
    return page(
        request,
        "versions.html",
        {
            "model": model,
            "versions": list(zip(versions, drawn, strict=True)),
            "lanes": lanes_of(drawn),
            "live": moves[0].version if moves else None,
            "moves": moves,
            "older": following,
            "newest": cursor is not None,
            "several": _several(session, visitor.caller.reaches),
        },
    )


def _several(session: Session, reaches: Any) -> bool:
    return sum(1 for one in list_models(session) if reaches(one.name)) > 1


@router.get("/ui/models/{model}/versions/{number}")
def version_page(
    request: Request, visitor: SeesVersions, session: ReadSession, model: ModelName, number: Number
) -> Response:
    """Show a version: where it came from, what it knows, what it forgot, what may be done."""
    found = get_model(session, model)
    row = get_version(session, found.id, number, undefer(Version.confusion))
    version = describe_versions(session, found, [row])[0]
    verdict = verdict_of(version)
    live = _live(session, found)
    before = version_before_live(session, found) if version.live else None
    learned = children(session, row)
    return page(
        request,
        "version.html",
        {
            "version": version,
            "verdict": verdict,
            "rows": verdict.rows if verdict else rows_of(version),
            "children": learned,
            "family": family(version.lineage, learned),
            "data_set": data_set_of(session, row),
            "report": _report(row),
            "readings": READINGS,
            "live": live.number if live else None,
            "unserved": missing(live.classes, row.classes) if live else [],
            "tag": tag_of(live.sequence) if live else None,
            "before": before,
            "unserved_before": unserved(session, found, number, before),
            "confusions": confusions_of(row, version),
            "settings": ran_with(version.effective_settings),
            "held_out": _held_out(session, row) if visitor.administers else 0,
            "most_lost": MOST_LOST,
        },
    )


def _live(session: Session, model: Model) -> Any:
    """Return the last move of `live`, and the version's number and classes; None: there is none."""
    wanted = select(AliasMove.sequence, Version.number, Version.classes).join(AliasMove.version)
    wanted = wanted.where(AliasMove.model_id == model.id, AliasMove.alias == LIVE)
    return session.execute(wanted.order_by(AliasMove.sequence.desc()).limit(1)).one_or_none()


def _report(version: Version) -> ForgettingReport | None:
    if version.forgetting_report is None:
        return None
    return read_stored(ForgettingReport, version.forgetting_report)


def _held_out(session: Session, row: Version) -> int:
    """Return how many pictures are kept that a version is scored on."""
    return 0 if row.deleted_at else sum(one.pictures for one in kept_sets(session, row))
