"""What can be known of a checkpoint without reading its weights."""

import posixpath
from collections.abc import Collection
from pathlib import Path

from sqlalchemy import Engine

from app.db import read_session
from app.errors import ErrorDetail, InvalidDatasetProblem, InvalidProblem
from app.errors.codes import Code
from app.imports.schemas import ImportSpec
from app.registry.service import assign_indices, find_model
from app.uploads.datasets import ODD_NAME, posted_classes
from sats_core.data.names import is_allowed_name, printable
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError, ModelError
from sats_core.segformer.config import NO_BACKGROUND, Checkpoint, read_checkpoint
from sats_core.segformer.layout import INDEX, PICKLE, SAFETENSORS
from sats_core.segformer.unpacking import checkpoint_config
from sats_core.settings import Limits

CHECKPOINT = "checkpoint"
EVALUATE = "evaluate"
BACKGROUND_FIELD = "spec.background"


class InvalidCheckpointProblem(InvalidProblem):
    """The posted checkpoint cannot be imported."""

    slug = "invalid-checkpoint"
    title = "The checkpoint cannot be imported"


def check_import(
    engine: Engine, spec: ImportSpec, checkpoint: Path, evaluate: Path | None, limits: Limits
) -> None:
    """Check what can be known of an import when it is asked for.

    Args:
        engine: the database; no connection is held while the files are read.
        spec: the import.
        checkpoint: the zip of the model's directory.
        evaluate: a zip of labelled pictures.
        limits: of either.

    Raises:
        InvalidCheckpointProblem: the checkpoint is none that can be imported.
        InvalidDatasetProblem: the labelled pictures cannot be used.
        ClassError: the model has no index left for a class.
    """
    names = checkpoint_classes(checkpoint, spec, limits)
    _check_names(names)
    with read_session(engine) as session:
        model = find_model(session, spec.model)
        if model is not None:
            assign_indices(session, model.id, names)
    if evaluate is not None:
        check_evaluate(evaluate, names, limits)


def checkpoint_classes(path: Path, spec: ImportSpec, limits: Limits) -> tuple[str, ...]:
    """Return the foreground classes of a zipped checkpoint, in channel order.

    Raises:
        InvalidCheckpointProblem: names the file or field at fault.
    """
    try:
        checkpoint = read_checkpoint(*checkpoint_config(path, limits))
        with ZipSource(path, limits) as source:
            check_weights({posixpath.basename(name) for name in source.names()}, spec.allow_pickle)
    except DatasetError as error:
        files = [ErrorDetail(i.reason, i.file, CHECKPOINT, code=i.code) for i in error.issues]
        faults = files or [ErrorDetail(error.message, field=CHECKPOINT, code=Code.UNREADABLE)]
        raise InvalidCheckpointProblem(error.message, faults) from error
    except ModelError as error:
        raise InvalidCheckpointProblem(
            str(error), [ErrorDetail(str(error), field=CHECKPOINT)]
        ) from error
    return _foreground(checkpoint, spec.background)


def check_evaluate(path: Path, names: Collection[str], limits: Limits) -> None:
    """Check that labelled pictures label a class of the checkpoint, decoding no picture.

    Raises:
        InvalidDatasetProblem: they do not, or cannot be read.
    """
    try:
        labelled = posted_classes(path, limits)
    except DatasetError as error:
        issues = [
            ErrorDetail(i.reason, i.file, EVALUATE, i.class_name, i.code) for i in error.issues
        ]
        fault = issues or [ErrorDetail(error.message, field=EVALUATE, code=Code.UNREADABLE)]
        raise InvalidDatasetProblem(f"`{EVALUATE}`: {error.message}", fault) from error
    if labelled is not None and not set(labelled) & set(names):
        message = f"they label none of the checkpoint's classes, but {', '.join(labelled[:20])}"
        raise InvalidDatasetProblem(
            f"`{EVALUATE}`: {message}", [ErrorDetail(message, field=EVALUATE, code=Code.MISSING)]
        )


def check_weights(files: set[str], allow_pickle: bool) -> None:
    """Check that a checkpoint's directory has weights that may be read, by its files' names.

    Raises:
        InvalidCheckpointProblem: none, or pickled ones alone and `allow_pickle` is not said.
    """
    if files & {SAFETENSORS, SAFETENSORS + INDEX}:
        return
    pickled = next((name for name in (PICKLE, PICKLE + INDEX) if name in files), None)
    if pickled is None:
        raise _refused(f"the checkpoint has no {SAFETENSORS}", SAFETENSORS, Code.MISSING)
    if not allow_pickle:
        raise _refused(
            f"{pickled} is a pickle, which can run code, so it is not read; save the model as "
            "safetensors, or import it on the service's own machine: sats import SOURCE "
            "--allow-pickle",
            pickled,
            Code.FORBIDDEN,
        )


def _check_names(classes: Collection[str]) -> None:
    shown = [printable(name) for name in classes if not is_allowed_name(name)]
    if shown:
        faults = [ErrorDetail(ODD_NAME, field=CHECKPOINT, class_name=name) for name in shown]
        raise InvalidCheckpointProblem(f"class {shown[0]!r}: {ODD_NAME}", faults)


def _foreground(checkpoint: Checkpoint, background: str | None) -> tuple[str, ...]:
    try:
        return checkpoint.class_order(background).foreground
    except ModelError as error:
        chosen = background not in (None, NO_BACKGROUND, *checkpoint.labels)
        fault = ErrorDetail(
            str(error),
            field=BACKGROUND_FIELD if chosen else CHECKPOINT,
            class_name=background if chosen else None,
            code=Code.UNKNOWN if chosen else Code.INVALID,
        )
        raise InvalidCheckpointProblem(str(error), [fault]) from error


def _refused(reason: str, file: str, code: Code) -> InvalidCheckpointProblem:
    return InvalidCheckpointProblem(reason, [ErrorDetail(reason, file, CHECKPOINT, code=code)])
