"""Whether a task's disk space is there, before it is begun."""

import posixpath
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy import Engine

from app.db import Version, read_session
from app.errors import DiskFullProblem
from app.imports.schemas import ImportSpec
from app.registry.parents import find_start
from app.registry.service import find_model
from app.settings import Settings
from app.tasks.schemas import TaskSpec
from sats_core.data.cache import bytes_of
from sats_core.data.readers.paired import PICTURE_SUFFIXES
from sats_core.data.sources import Archive, Source, ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits, StepSettings

MIB = 1024 * 1024
SAMPLE = 32
"""Pictures whose size is looked up, in place of all."""

_VERSION_MIB = {"0": 30, "1": 110, "2": 200, "3": 360, "4": 500, "5": 660}
"""Weights and graph of a version, by the last figure of its backbone's name."""
_STEP_COPIES = 4
"""Of a version's files while a step runs: the new one, its copy on the way into the store, and a
checkpoint that holds the optimiser's moments too. The old one is laid out as links."""
_IMPORT_COPIES = 5
_KEPT_COPIES = 2
"""Of pictures that are kept: in the work folder, and on the way into the store."""


def check_task_fits(
    engine: Engine,
    settings: Settings,
    spec: TaskSpec | ImportSpec,
    dataset: Archive,
    evaluate: Path | None = None,
) -> None:
    """Check, when a task is posted, that its step would fit if it began now.

    Args:
        engine: the database; no connection is held while the zip is read.
        settings: the process's settings.
        spec: of the task.
        dataset: the posted zip.
        evaluate: the zip that is to score an import, if any.

    Raises:
        DiskFullProblem: it would not; says what it needs and what there is.
        DatasetError: the zip cannot be read.
    """
    start = None
    if isinstance(spec, TaskSpec):
        with read_session(engine) as session:
            model = find_model(session, spec.model)
            start = find_start(session, model.id, spec.parent) if model else None
    check_fits(settings, needed(spec, dataset, start, settings.limits, evaluate))


def check_retirement_fits(settings: Settings, start: Version, dataset: Path | None) -> None:
    """Check, when a retirement is posted, that it would fit if it began now.

    Raises:
        DiskFullProblem, DatasetError: as of `check_task_fits`.
    """
    check_fits(settings, needed_to_retire(start, dataset, settings.limits))


def check_fits(settings: Settings, bytes_needed: int, bytes_there: int = 0) -> None:
    """Check that there is room for a step.

    Args:
        settings: the process's settings.
        bytes_needed: by the whole step.
        bytes_there: that its tries before have written already; they need not fit once more.

    Raises:
        DiskFullProblem: there is not; says what it needs and what there is.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    there = shutil.disk_usage(settings.data_dir).free - settings.keep_free_bytes
    wanted = max(bytes_needed - bytes_there, 0)
    if wanted > there:
        raise DiskFullProblem(
            f"the task needs about {_shown(wanted)} while it runs, and there are "
            f"{_shown(max(there, 0))} where SATS_DATA_DIR is, beside the "
            f"{_shown(settings.keep_free_bytes)} of SATS_KEEP_FREE_BYTES: free some space; a step "
            "needs less with fewer pictures or a smaller `size`"
        )


def check_room(settings: Settings, coming: int = 0) -> None:
    """Check that an upload leaves what is to stay free.

    Args:
        settings: the process's settings.
        coming: bytes of it that are not on this disk yet.

    Raises:
        DiskFullProblem: it does not.
    """
    free = shutil.disk_usage(settings.data_dir).free
    if free - coming < settings.keep_free_bytes:
        needed = f", and {_shown(coming)} are to come" if coming else ""
        raise DiskFullProblem(
            f"there are {_shown(free)} where SATS_DATA_DIR is{needed}; the "
            f"{_shown(settings.keep_free_bytes)} of SATS_KEEP_FREE_BYTES would not stay free: free "
            "some space"
        )


def needed(
    spec: TaskSpec | ImportSpec,
    dataset: Archive,
    start: Version | None,
    limits: Limits,
    evaluate: Path | None = None,
) -> int:
    """Return about how many bytes a task needs beside what was posted, a little too many.

    Args:
        spec: of the task.
        dataset: the posted zip.
        start: the version that it starts from; None: none.
        limits: of the zip.
        evaluate: the zip that is to score an import, if any.

    Raises:
        DatasetError: the zip cannot be read.
    """
    with ZipSource(dataset, limits) as source:
        sizes = {name: source.size(name) for name in source.names()}
        if isinstance(spec, ImportSpec):
            pictures_kept = _KEPT_COPIES * evaluate.stat().st_size if evaluate else 0
            return _IMPORT_COPIES * sum(sizes.values()) + pictures_kept
        pictures = _pictures(sizes)
        cache = round(len(pictures) * _kept_bytes(source, pictures, spec.size))
    kept = spec.held_out.share if spec.held_out.keep else 0.0
    kept += min(1.0, spec.memory / max(len(pictures), 1))
    kept_bytes = round(_KEPT_COPIES * kept * sum(sizes.values()))
    return cache + kept_bytes + _STEP_COPIES * _version_bytes(spec, start)


def needed_to_retire(start: Version, dataset: Path | None, limits: Limits) -> int:
    """Return about how many bytes a retirement needs beside what was posted, a little too many.

    What pictures the version keeps are laid out as links.

    Args:
        start: the version that classes are taken from.
        dataset: the zip of labelled pictures that came along; None: none.
        limits: of the zip.

    Raises:
        DatasetError: the zip cannot be read.
    """
    version = sum(int(file["bytes"]) for file in start.files.values())
    if dataset is None:
        return _STEP_COPIES * version
    with ZipSource(dataset, limits) as source:
        pictures = _pictures({name: source.size(name) for name in source.names()})
        size = int(start.settings.get("size", StepSettings().size))
        return _STEP_COPIES * version + round(len(pictures) * _kept_bytes(source, pictures, size))


def _pictures(sizes: Mapping[str, int]) -> list[str]:
    """Return the pictures' names, without their masks: of two files of one name the larger one."""
    found: dict[str, str] = {}
    for name, size in sizes.items():
        stem, suffix = posixpath.splitext(posixpath.basename(name))
        if suffix[1:].lower() in PICTURE_SUFFIXES and size > sizes.get(found.get(stem, ""), -1):
            found[stem] = name
    return sorted(found.values())


def _kept_bytes(source: Source, pictures: Sequence[str], size: int) -> float:
    """Return the mean bytes that a picture takes in the step's cache."""
    if not pictures:
        return 0.0
    chosen = np.linspace(0, len(pictures) - 1, min(SAMPLE, len(pictures))).astype(int)
    return float(np.mean([_cached(source, pictures[index], size) for index in chosen]))


def _cached(source: Source, name: str, size: int) -> int:
    try:
        with source.stream(name) as stream, Image.open(stream) as picture:
            width, height = picture.size
    except (DatasetError, OSError, ValueError, SyntaxError):
        width = height = 2 * size  # the worker says what is wrong with it
    return bytes_of(height, width, size)


def _version_bytes(spec: TaskSpec, start: Version | None) -> int:
    if start is not None:
        return sum(int(file["bytes"]) for file in start.files.values())
    return _VERSION_MIB.get(spec.backbone[-1:], _VERSION_MIB["2"]) * MIB


def own_bytes(folder: Path) -> int:
    """Return the bytes of a folder's files; links to what others keep as well are none."""
    found = (path.stat() for path in folder.rglob("*") if path.is_file())
    return sum(one.st_size for one in found if one.st_nlink == 1)


def _shown(size: int) -> str:
    return f"{size / MIB:,.0f} MiB" if size < 1024 * MIB else f"{size / MIB / 1024:,.1f} GiB"
