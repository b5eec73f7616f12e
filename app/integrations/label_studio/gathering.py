"""A project's annotations and pictures, brought together into a data set. Web-free."""

import asyncio
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import ijson

from app.integrations.label_studio.client import LabelStudio, LabelStudioError
from app.integrations.label_studio.exported import ExportedTask, exported_tasks
from app.integrations.label_studio.labelling import Labelling, LabellingError, read_labelling
from app.settings import Settings
from sats_core.data.names import printable
from sats_core.data.pictures import decode_picture
from sats_core.data.readers import LabelStudioReader
from sats_core.data.sources import DirectorySource
from sats_core.errors import CoreError

AT_ONCE = 4
"""Pictures that are fetched side by side."""
MOST_WARNINGS = 20
"""That are told one by one."""
_STARTS = (
    ("jpg", b"\xff\xd8\xff", 0, b""),
    ("png", b"\x89PNG", 0, b""),
    ("webp", b"RIFF", 8, b"WEBP"),
    ("bmp", b"BM", 0, b""),
    ("tif", b"II*\0", 0, b""),
    ("tif", b"MM\0*", 0, b""),
)
"""Suffix of a picture's file, what it begins with, and what stands at a place in it."""
TRIES = 3
"""To fetch a picture, where another one may help."""
_PAUSE_SECONDS = 1.0
_FAULTS = (ijson.JSONError, KeyError, TypeError, ValueError, StopIteration, RuntimeError)

Told = Callable[[int, int], None]
"""Hears how many pictures are there, and of how many."""


@dataclass
class Gathered:
    """A project as a data set.

    Attributes:
        dataset: the zip: Label Studio's JSON, and the pictures.
        title: the project's.
        labels: what may be drawn.
        pictures: how many there are.
        in_all: how many tasks with annotations the project has.
        classes: that they show.
        warnings: what is left out, and why.
    """

    dataset: Path
    title: str
    labels: tuple[str, ...]
    pictures: int = 0
    in_all: int = 0
    classes: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    left_out: int = 0

    def leave_out(self, task: int, why: str) -> None:
        """Note that a task is left out."""
        self.left_out += 1
        if self.left_out <= MOST_WARNINGS:
            self.warnings.append(printable(f"task {task} is left out: {why}"[:500]))
        elif self.left_out == MOST_WARNINGS + 1:
            self.warnings.append("more tasks are left out")


async def gather(
    label_studio: LabelStudio, project: int, settings: Settings, folder: Path, told: Told
) -> Gathered:
    """Bring a project together in a folder. A task that cannot be used is left out, with a warning.

    Args:
        label_studio: where it is.
        project: its number.
        settings: how large pictures and data sets may be.
        folder: an empty one, for the zip and what it is made of.
        told: hears how far it is.

    Raises:
        LabelStudioError: Label Studio does not give it, or it is not one to learn from.
    """
    found = await label_studio.project(project)
    try:
        labelling = read_labelling(found.label_config)
    except LabellingError as error:
        raise LabelStudioError(str(error)) from error
    if not labelling.pictures:
        raise LabelStudioError("the project's labelling configuration shows no <Image>")
    gathered = Gathered(folder / "dataset.zip", found.title, labelling.labels)
    with (folder / "export.json").open("w+b") as export:
        await label_studio.export(project, export)
        export.seek(0)
        gathered.in_all = sum(1 for _ in _tasks(export))
        export.seek(0)
        gathering = _Gathering(label_studio, labelling, settings, folder, gathered)
        await gathering.run(_tasks(export), told)
    if not gathered.pictures:
        why = f": {gathered.warnings[0]}" if gathered.warnings else ""
        raise LabelStudioError(f"no task of the project has an annotation that can be used{why}")
    return gathered


def _tasks(export: BinaryIO) -> Iterator[ExportedTask]:
    try:
        yield from exported_tasks(export)
    except _FAULTS as error:
        raise LabelStudioError(f"the project's export cannot be read: {error}"[:500]) from error


class _Gathering:
    """Fetches pictures, a few at once, and writes those that can be used into the zip, in order."""

    def __init__(
        self,
        label_studio: LabelStudio,
        labelling: Labelling,
        settings: Settings,
        folder: Path,
        gathered: Gathered,
    ) -> None:
        self._label_studio = label_studio
        # Of several pictures of a task the first is what its regions are drawn on.
        self._shown_by, self._key = next(iter(labelling.pictures.items()))
        self._settings = settings
        self._folder = folder
        self._gathered = gathered
        self._left = settings.max_upload_bytes

    async def run(self, tasks: Iterator[ExportedTask], told: Told) -> None:
        coming: deque[tuple[ExportedTask, asyncio.Task[bytes]]] = deque()
        with (
            zipfile.ZipFile(self._gathered.dataset, "w", zipfile.ZIP_STORED) as archive,
            (self._folder / "annotations.json").open("w+b") as annotations,
        ):
            annotations.write(b"[")
            try:
                more = True
                while more or coming:
                    while more and len(coming) < AT_ONCE:
                        task = next(tasks, None)
                        more = task is not None
                        if task is not None:
                            coming.append((task, asyncio.create_task(self._fetched(task))))
                    if coming:
                        await self._add(archive, annotations, *coming.popleft())
                        told(self._gathered.pictures, self._gathered.in_all)
            finally:
                for _, fetching in coming:
                    fetching.cancel()
                await asyncio.gather(*(one for _, one in coming), return_exceptions=True)
            annotations.write(b"]")
            annotations.flush()
            archive.write(annotations.name, "annotations.json", zipfile.ZIP_DEFLATED)

    async def _fetched(self, task: ExportedTask) -> bytes:
        address = task.data.get(self._key)
        if address is None:
            raise LabelStudioError(f"its data has no `{self._key}`")
        most = self._settings.max_picture_bytes
        for left in reversed(range(TRIES)):
            try:
                return await self._label_studio.picture(address, task.id, most)
            except LabelStudioError as error:
                if not (error.passing and left):
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")

    async def _add(
        self,
        archive: zipfile.ZipFile,
        annotations: BinaryIO,
        task: ExportedTask,
        fetching: "asyncio.Task[bytes]",
    ) -> None:
        gathered = self._gathered
        try:
            data = await fetching
        except LabelStudioError as error:
            gathered.leave_out(task.id, str(error))
            return
        try:
            file = f"{task.id}.{_suffix(data)}"
            of_picture = task.of_picture(self._shown_by)
            body = of_picture.body(file)
            shown: set[str] = set()
            if of_picture.is_empty:
                decode_picture(data, self._settings.max_pixels)
            else:
                shown = self._checked(file, data, body)
        except (CoreError, ValueError) as error:
            gathered.leave_out(task.id, str(error))
            return
        self._left -= len(data) + len(body)
        if self._left < 0:
            most = self._settings.max_upload_bytes
            raise LabelStudioError(
                f"the project has more than {most} bytes (SATS_MAX_UPLOAD_BYTES)"
            )
        archive.writestr(f"images/{file}", data)
        annotations.write(b",\n" * bool(gathered.pictures) + body)
        gathered.pictures += 1
        gathered.classes |= shown

    def _checked(self, file: str, data: bytes, body: bytes) -> set[str]:
        """Read one task as the step will; return the classes that it shows.

        Raises:
            DatasetError: it cannot be read.
        """
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            alone = Path(name)
            (alone / file).write_bytes(data)
            (alone / "annotations.json").write_bytes(b"[" + body + b"]")
            with DirectorySource(alone, self._settings.limits) as source:
                reader = LabelStudioReader(source)
                return {
                    shown
                    for picture in reader.ids
                    for shown in reader.shown(reader.read(picture).label)
                }


def _suffix(data: bytes) -> str:
    """Return the suffix of a picture's file by what it begins with, whatever it was called.

    Raises:
        ValueError: it is no picture.
    """
    for suffix, start, at, more in _STARTS:
        if data.startswith(start) and data[at:].startswith(more):
            return suffix
    raise ValueError("what came is no picture (PNG, JPEG, WebP, BMP or TIFF)")
