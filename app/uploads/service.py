"""What is in an upload, and what it would cost to learn it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from app.db import read_session
from app.errors import ErrorDetail
from app.errors.schemas import ErrorDetailJson
from app.http.services import Services
from app.registry.parents import NothingToStartFromProblem, check_start
from app.registry.schemas import hex_colour
from app.storage import Blob
from app.tasks.classes import class_names
from app.uploads.looking import Look, look
from app.uploads.opening import opened_upload
from app.uploads.pace import seconds_a_picture
from app.uploads.schemas import UploadedClass, UploadReport
from app.uploads.sheet import contact_sheet
from sats_core.classes import voc_colour
from sats_core.data.readers import READERS, Reader
from sats_core.errors import DatasetError
from sats_core.job import HeldOutChoice
from sats_core.settings import StepSettings
from sats_core.training.splitting import Split, choose_split

FEW_PICTURES = 10


@dataclass(frozen=True)
class Found:
    """What an upload holds.

    Attributes:
        report: what the API tells of it.
        pixels: of each of the report's classes, in the pictures that were looked at.
        to_train_on: pictures that a task with the defaults would train on.
    """

    report: UploadReport
    pixels: Sequence[int]
    to_train_on: int


def look_into(services: Services, blob: Blob, upload: str, model: str) -> Found:
    """Return what an upload holds for a model.

    Args:
        services: of the process.
        blob: the upload's.
        upload: its token.
        model: that is to learn it.

    Raises:
        UploadGoneProblem: it is not there any more.
        DatasetError: it is no data set.
        TooLargeProblem: its annotations are too long for a look.
    """
    refused = []
    with read_session(services.engine) as session:
        try:
            start = check_start(session, model, None)
        except NothingToStartFromProblem as problem:  # a task may name what it starts from
            start, refused = None, [problem.detail]
        known = class_names(start)
        number = start.number if start else None
        base = start is None
        pace = None if refused else seconds_a_picture(session, StepSettings(), base)
    with opened_upload(services, blob) as reader:
        found = report(reader, known, number, pace, f"/uploads/{upload}/sheet?pictures=")
    warnings = [*refused, *found.report.warnings]
    return replace(found, report=found.report.model_copy(update={"warnings": warnings}))


def draw(services: Services, blob: Blob, positions: Sequence[int]) -> bytes:
    """Return a contact sheet of an upload's pictures; the first one where none is there.

    Raises:
        UploadGoneProblem: it is not there any more.
        DatasetError: it is no data set.
        TooLargeProblem: its annotations are too long for a look.
    """
    with opened_upload(services, blob) as reader:
        there = [position for position in positions if position < len(reader.ids)]
        return contact_sheet(reader, there or [0])


def report(
    reader: Reader, known: Collection[str], start: int | None, pace: float | None, sheet: str
) -> Found:
    """Return what is in a data set.

    Args:
        reader: of the data set.
        known: classes of the version that a step would start from.
        start: its number; None: there is none.
        pace: seconds a picture that a step by the defaults would take; None: not known.
        sheet: path of the contact sheet, to which the positions of pictures are added.
    """
    found = look(reader)
    split = _split(reader, found.faults)
    told = UploadReport(
        layout=next(name for name, kind in READERS.items() if isinstance(reader, kind)),
        pictures=len(reader.ids),
        looked_at=found.pictures,
        classes=[
            _class(found, value, name, name in known)
            for value, name in enumerate(reader.classes, start=1)
        ],
        splits={name: len(ids) for name, ids in reader.splits.items()},
        held_out=len(split.held_out),
        unpaired=len(reader.unpaired),
        duplicates=found.duplicates,
        warnings=[*reader.warnings, *split.warnings, *_warnings(reader, found, known)],
        errors=[ErrorDetailJson.model_validate(fault.body()) for fault in found.faults],
        starts_from=start,
        estimated_seconds=None if pace is None else pace * len(split.train),
        sheet=sheet + ",".join(map(str, found.sheet)) if found.sheet else None,
    )
    pixels = [found.pixels.get(value, 0) for value in range(1, len(reader.classes) + 1)]
    return Found(told, pixels, len(split.train))


def _class(found: Look, value: int, name: str, known: bool) -> UploadedClass:
    shown = found.shown.get(value, 0)
    labelled = sum(found.pixels.values())
    return UploadedClass(
        name=name,
        color=hex_colour(voc_colour(value)),
        known=known,
        pictures=shown,
        share=found.pixels.get(value, 0) / labelled if labelled else 0.0,
        share_where_shown=found.own_share[value] / shown if shown else None,
    )


def _split(reader: Reader, faults: list[ErrorDetail]) -> Split:
    """Return what a task with the defaults would train on; adds why it could not."""
    try:
        return choose_split(reader, HeldOutChoice(), StepSettings.model_fields["seed"].default)
    except DatasetError as error:
        faults.append(ErrorDetail(str(error)))
        return Split((), ())


def _warnings(reader: Reader, found: Look, known: Collection[str]) -> list[str]:
    said = []
    new = [name for name in reader.classes if name not in known]
    if not new:
        said.append("the model knows every class of it already: there is nothing to learn")
    for value, name in enumerate(reader.classes, start=1):
        if name not in known and found.pictures and not found.shown.get(value):
            said.append(f"no picture that was looked at shows {name!r}")
    if len(reader.ids) < FEW_PICTURES:
        said.append(f"{len(reader.ids)} pictures are few: some dozens of each class are better")
    if found.duplicates:
        said.append(f"{found.duplicates} of {found.pictures} pictures look the same as another one")
    return said
