"""Held-out pictures: which are kept along a version's lineage, and what one of them shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, load_only

from app.db import HeldOutSet, Model, Version
from app.errors import NotFoundProblem, problem_of
from app.registry.retired import same_classes
from app.registry.service import lineage
from app.storage import BlobDamagedError, BlobMissingError, BlobStore
from sats_core.data.readers import LabelledPicture, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits


@dataclass(frozen=True)
class Sample:
    """A held-out picture.

    Attributes:
        model: name of the model, and
        version: number of the version whose task it came with.
        position: in that version's set.
        classes: what the set is labelled for.
    """

    model: str
    version: int
    position: int
    classes: Sequence[str]


@dataclass(frozen=True)
class Drawn:
    """Held-out pictures that stand for all.

    Attributes:
        samples: the pictures, drawn evenly.
        out_of: how many there are to draw from.
    """

    samples: Sequence[Sample]
    out_of: int


def held_out_sets(session: Session, version: Version) -> Sequence[HeldOutSet]:
    """Return the held-out pictures kept along a version's lineage, base first."""
    numbers = lineage(session, version)
    kept = HeldOutSet.version_id.in_(numbers), HeldOutSet.deleted_at.is_(None)
    found = session.scalars(select(HeldOutSet).where(*kept)).all()
    return sorted(found, key=lambda kept: numbers[kept.version_id])


def held_out_of(session: Session, version: Version) -> HeldOutSet | None:
    """Return what a version's task held out, or did before it was deleted; None where nothing."""
    return held_out_of_each(session, [version]).get(version.id)


def held_out_of_each(session: Session, versions: Sequence[Version]) -> dict[int, HeldOutSet]:
    """Return what versions' tasks held out, by the versions' ids."""
    wanted = select(HeldOutSet).where(HeldOutSet.version_id.in_([v.id for v in versions]))
    return {found.version_id: found for found in session.scalars(wanted)}


def standing_held_out(session: Session, version: Version) -> HeldOutSet:
    """Return what a version's task held out and is still there.

    Raises:
        NotFoundProblem: there is nothing, or it was deleted.
    """
    kept = held_out_of(session, version)
    if kept is None or kept.deleted_at is not None:
        raise NotFoundProblem(f"version {version.number} keeps no held-out pictures")
    return kept


def samples(session: Session, versions: Sequence[Version], most: int) -> Drawn:
    """Draw some pictures that versions are scored on, of every task before them if these are few.

    The newest sets come first; of each as many as there is room for, evenly. A set that says
    nothing of the versions any more (`same_classes`) is neither drawn from nor counted.

    Args:
        session: to read in.
        versions: of one model or of several; a set that two of them have counts once.
        most: pictures in all.
    """
    lines = [(each, lineage(session, each)) for each in versions]
    wanted = (
        select(HeldOutSet, Version, Model.name)
        .join(Version, Version.id == HeldOutSet.version_id)
        .join(Version.model)
        .where(
            HeldOutSet.version_id.in_({version_id for _, line in lines for version_id in line}),
            HeldOutSet.deleted_at.is_(None),
            HeldOutSet.pictures > 0,
        )
        .options(load_only(Version.number, Version.classes))
    )
    kept = [
        (one, of.number, name)
        for one, of, name in session.execute(wanted.order_by(HeldOutSet.id.desc()))
        if any(of.id in line and same_classes(one.classes, of, each) for each, line in lines)
    ]
    chosen = kept[:most]
    drawn = [
        Sample(name, number, position, one.classes)
        for one, number, name in chosen
        for position in _evenly(one.pictures, most // len(chosen))
    ]
    return Drawn(drawn, sum(one.pictures for one, _, _ in kept))


def _evenly(pictures: int, most: int) -> list[int]:
    count = min(pictures, most)
    return [place * pictures // count for place in range(count)]


def read_held_out(
    blobs: BlobStore, limits: Limits, kept: HeldOutSet, position: int
) -> tuple[LabelledPicture, Sequence[str]]:
    """Read one picture of a set, and the classes that its label's values 1, 2, ... stand for.

    It is fetched and decoded here: hold no connection to the database meanwhile.

    Raises:
        NotFoundProblem: the set has no such picture, or its bytes are gone.
        InvalidDatasetProblem: it cannot be read.
    """
    try:
        with ZipSource(blobs.path(kept.blob), limits.of_stored()) as source:
            reader = open_reader(source)
            if position >= len(reader.ids):
                raise NotFoundProblem(f"there are {len(reader.ids)} held-out pictures")
            return reader.read(reader.ids[position]), reader.classes
    except BlobMissingError as error:
        raise NotFoundProblem("the held-out pictures are gone") from error
    except BlobDamagedError as error:
        raise NotFoundProblem("the held-out pictures are damaged in the blob store") from error
    except DatasetError as error:
        raise problem_of(error) from error
