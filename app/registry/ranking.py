"""Held-out pictures by how badly a version does on them, or how much two differ. Web-free."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session, load_only

from app.db import HeldOutSet, Version
from app.records.stored import shown
from app.registry.files import version_file
from app.registry.retired import same_classes
from app.registry.service import line_of
from app.storage import BlobStore
from sats_core.evaluation.picture_scores import HELD_OUT_SCORES, PictureScores

Place = tuple[str, int]
"""Model and number of the version whose task a set of held-out pictures came with."""
DRAWN = 18
"""Pictures that are drawn where there are no scores to rank them by."""


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


@dataclass(frozen=True)
class Scored:
    """A version, and what pictures say of it.

    Attributes:
        model: its model's name.
        number: its number.
        kept: sets that it is scored on and that are there.
        scores: on their pictures.
    """

    model: str
    number: int
    kept: Sequence[KeptSet]
    scores: PictureScores


@dataclass(frozen=True)
class PairedPicture:
    """A held-out picture, and what it says of two versions.

    Attributes:
        model: name of the model, and
        version: number of the version whose task it came with.
        position: in that version's set.
        classes: what it is labelled for.
        iou: of each of these that both versions are scored on, by the first and by the second,
            0..1; None: not both are scored on the picture by itself.
    """

    model: str
    version: int
    position: int
    classes: Sequence[str]
    iou: Mapping[str, tuple[float, float]] | None


@dataclass(frozen=True)
class Differing:
    """Held-out pictures of two versions.

    Attributes:
        ranked: those that both are scored on, the largest difference first.
        drawn: some of the others, drawn evenly.
        unscored: how many others there are.
    """

    ranked: Sequence[PairedPicture]
    drawn: Sequence[PairedPicture]
    unscored: int


def kept_sets(session: Session, version: Version) -> list[KeptSet]:
    """Return the sets that a version is scored on and that are there, the newest first."""
    line = line_of(version)
    wanted = (
        select(HeldOutSet, Version)
        .join(Version, Version.id == HeldOutSet.version_id)
        .join(line, line.c.id == Version.id)
        .where(HeldOutSet.deleted_at.is_(None), HeldOutSet.pictures > 0)
        .order_by(line.c.back)
        .options(load_only(Version.number, Version.classes))
    )
    return [
        KeptSet(of.number, one.pictures, classes)
        for one, of in session.execute(wanted)
        if (classes := same_classes(one.classes, of, version))
    ]


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


def worst_first(version: Scored, by: str | None = None) -> list[RankedPicture]:
    """Return pictures in the order of a version's mean IoU on them, or of its IoU of one class.

    Left out are pictures that show none of their classes and in which the version sees none, or
    that say nothing of the class. Those that have no score come last, in the order of the sets.

    Args:
        version: whose.
        by: the class; None: all.
    """
    rows = _overlaps(version)
    found = [
        RankedPicture(each.version, position, each.classes, iou)
        for each in version.kept
        for position, iou in enumerate(rows.get(each.version, [None] * each.pictures))
    ]
    told = [one for one in found if one.iou and (by is None or by in one.iou)]
    untold = [one for one in found if one.iou is None and (by is None or by in one.classes)]
    return [*sorted(told, key=lambda one: _mean(one.iou or {}, by)), *untold]


def every_set(lines: Iterable[tuple[str, Sequence[KeptSet]]]) -> dict[Place, KeptSet]:
    """Return the sets of several versions, each once, with what it is labelled for in any of them.

    Args:
        lines: name of each version's model, and its sets.
    """
    found: dict[Place, KeptSet] = {}
    for model, kept in lines:
        for each in kept:
            known = found.get((model, each.version), each).classes
            classes = tuple(dict.fromkeys([*known, *each.classes]))
            found[model, each.version] = replace(each, classes=classes)
    return dict(sorted(found.items(), key=lambda one: -one[1].version))


def most_different(pair: tuple[Scored, Scored], by: str | None = None) -> Differing:
    """Return pictures in the order of how far two versions' IoU of them lie apart.

    That is the mean of the differences over the classes that both are scored on in a picture, or
    the difference of one class. Left out are pictures without such a class.

    Args:
        pair: the versions; of two models they are scored on no picture both.
        by: the class; None: all.
    """
    sets = every_set((one.model, one.kept) for one in pair)
    first, second = ({(one.model, of): rows for of, rows in _overlaps(one).items()} for one in pair)
    ranked = []
    unscored = []
    for place, each in sets.items():
        if place not in first or place not in second:
            if by is None or by in each.classes:
                unscored.append((place, each))
            continue
        for position, (one, other) in enumerate(zip(first[place], second[place], strict=True)):
            iou = {name: (one[name], other[name]) for name in one if name in other}
            if iou and (by is None or by in iou):
                ranked.append(PairedPicture(*place, position, each.classes, iou))
    ranked.sort(key=lambda one: -_apart(one.iou or {}, by))
    return Differing(ranked, _drawn(unscored), sum(each.pictures for _, each in unscored))


def _drawn(sets: Sequence[tuple[Place, KeptSet]]) -> list[PairedPicture]:
    """Draw `DRAWN` pictures at most: of the newest sets, of each as many as there is room for."""
    chosen = sets[:DRAWN]
    return [
        PairedPicture(*place, position, each.classes, None)
        for place, each in chosen
        for position in _evenly(each.pictures, DRAWN // len(chosen))
    ]


def _evenly(pictures: int, most: int) -> list[int]:
    count = min(pictures, most)
    return [place * pictures // count for place in range(count)]


def _overlaps(version: Scored) -> dict[int, list[dict[str, float]]]:
    """Return a version's IoU of each class in each picture, by set; of those that have scores."""
    rows = {one.version or version.number: one for one in version.scores.sets}
    return {
        each.version: [
            {
                name: overlap
                for name, overlap in zip(row.classes, overlaps, strict=True)
                if overlap is not None and name in each.classes
            }
            for overlaps in row.iou
        ]
        for each in version.kept
        if (row := rows.get(each.version)) is not None and len(row.iou) == each.pictures
    }


def _apart(iou: Mapping[str, tuple[float, float]], by: str | None) -> float:
    return _mean({name: abs(one - other) for name, (one, other) in iou.items()}, by)


def _mean(iou: Mapping[str, float], by: str | None) -> float:
    return iou[by] if by is not None else sum(iou.values()) / len(iou)
