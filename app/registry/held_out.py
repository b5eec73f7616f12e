"""Held-out pictures: which are kept along a version's lineage, and what one of them shows."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import HeldOutSet, Version
from app.errors import NotFoundProblem, problem_of
from app.registry.service import line_of
from app.storage import BlobDamagedError, BlobMissingError, BlobStore
from sats_core.data.readers import LabelledPicture, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits


def held_out_sets(session: Session, version: Version) -> Sequence[HeldOutSet]:
    """Return the held-out pictures kept along a version's lineage, base first."""
    line = line_of(version)
    wanted = select(HeldOutSet).join(line, line.c.id == HeldOutSet.version_id)
    wanted = wanted.where(HeldOutSet.deleted_at.is_(None)).order_by(line.c.back.desc())
    return session.scalars(wanted).all()


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
