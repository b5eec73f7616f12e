"""Held-out pictures in the order of how badly a version does on them. Web-free."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, load_only

from app.db import Version
from app.records.stored import shown
from app.registry.files import version_file
from app.registry.held_out import held_out_sets
from app.registry.retired import same_classes
from app.storage import BlobStore
from sats_core.evaluation.picture_scores import HELD_OUT_SCORES, PictureScores


@dataclass(frozen=True)
class KeptSet:
    """Held-out pictures that are kept and that a version is scored on.

    Attributes:
        version: number of the version whose task they came with.
        pictures: how many there are.
        classes: what they are labelled for, as far as it is the same class still.
    """

    version: int
    pictures: int
    classes: Sequence[str]


@dataclass(frozen=True)
class RankedPicture:
    """A held-out picture, and what it says of the version.

    Attributes:
        version: number of the version whose task it came with.
        position: in that version's set.
        classes: what it is labelled for.
        iou: of each of these that its label or the version shows, 0..1; None: pictures were not
            scored one by one yet when the version was made, or others were deleted beside it since.
    """

    version: int
    position: int
    classes: Sequence[str]
    iou: Mapping[str, float] | None


def kept_sets(session: Session, version: Version) -> list[KeptSet]:
    """Return the sets that a version is scored on and that are there, the newest first."""
    kept = held_out_sets(session, version)
    ids = [one.version_id for one in kept]
    wanted = select(Version).where(Version.id.in_(ids))
    wanted = wanted.options(load_only(Version.number, Version.classes))
    versions = {one.id: one for one in session.scalars(wanted)}
    found = []
    for one in reversed(kept):
        of = versions[one.version_id]
        classes = same_classes(one.classes, of, version)
        if classes and one.pictures:
            found.append(KeptSet(of.number, one.pictures, classes))
    return found


def picture_scores(blobs: BlobStore, version: Version) -> PictureScores:
    """Return a version's scores on single pictures; none where it was made before they were kept.

    The file is fetched here: hold no connection to the database meanwhile.

    Raises:
        DamagedVersionProblem: the file is missing, or not what was stored.
    """
    found = None
    if HELD_OUT_SCORES in version.files:
        stored = json.loads(version_file(blobs, version, HELD_OUT_SCORES).read_bytes())
        found = shown(PictureScores, stored)
    return found or PictureScores(sets=())


def worst_first(
    kept: Sequence[KeptSet], scores: PictureScores, number: int, by: str | None = None
) -> list[RankedPicture]:
    """Return pictures in the order of a version's mean IoU on them, or of its IoU of one class.

    Left out are pictures that show none of their classes and in which the version sees none, or
    that say nothing of the class. Those that have no score come last, in the order of the sets.

    Args:
        kept: sets that are there.
        scores: of the version.
        number: the version's.
        by: the class; None: all.
    """
    rows = {one.version or number: one for one in scores.sets}
    found: list[RankedPicture] = []
    for each in kept:
        row = rows.get(each.version)
        if row is None or len(row.iou) != each.pictures:
            found += [
                RankedPicture(each.version, position, each.classes, None)
                for position in range(each.pictures)
            ]
            continue
        for position, overlaps in enumerate(row.iou):
            iou = {
                name: overlap
                for name, overlap in zip(row.classes, overlaps, strict=True)
                if overlap is not None and name in each.classes
            }
            found.append(RankedPicture(each.version, position, each.classes, iou))
    told = [one for one in found if one.iou and (by is None or by in one.iou)]
    untold = [one for one in found if one.iou is None and (by is None or by in one.classes)]
    return [*sorted(told, key=lambda one: _score(one.iou or {}, by)), *untold]


def _score(iou: Mapping[str, float], by: str | None) -> float:
    return iou[by] if by is not None else sum(iou.values()) / len(iou)
