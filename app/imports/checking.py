"""What can be known of a checkpoint without reading its weights."""

import posixpath
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from app.errors import InvalidDatasetProblem, InvalidProblem, ProblemError
from app.imports.schemas import ImportSpec
from app.models.service import assign_indices, find_model
from app.tasks.service import dataset_classes
from sats_core.data.sources import Source, ZipSource
from sats_core.errors import DatasetError, ModelError
from sats_core.segformer.config import NO_BACKGROUND, Checkpoint, read_checkpoint
from sats_core.settings import Limits

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS, PICKLED = ".safetensors", ".bin"
CHECKPOINT = "checkpoint"
EVALUATE = "evaluate"
BACKGROUND_FIELD = "spec.background"


class InvalidCheckpointProblem(InvalidProblem):
    """The posted checkpoint cannot be imported."""

    slug = "invalid-checkpoint"
    title = "The checkpoint cannot be imported"


def check_import(
    session: Session, spec: ImportSpec, checkpoint: Path, evaluate: Path | None, limits: Limits
) -> None:
    """Check what can be known of an import when it is asked for.

    Args:
        session: reads.
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
    if not zipfile.is_zipfile(path):
        raise _refused("it is not a zip file, or a damaged one")
    try:
        with ZipSource(path, limits) as source:
            folder = _folder(source.names())
            inside = {name.removeprefix(folder) for name in source.names()}
            _check_weights(inside, spec.allow_pickle)
            checkpoint = _read(source, folder, inside)
    except DatasetError as error:
        files = tuple(ProblemError(i.reason, i.file, CHECKPOINT) for i in error.issues)
        raise InvalidCheckpointProblem(f"the checkpoint's zip: {error.message}", files) from error
    return _foreground(checkpoint, spec.background)


def check_evaluate(path: Path, names: Collection[str], limits: Limits) -> None:
    """Check that labelled pictures label a class of the checkpoint, decoding no picture.

    Raises:
        InvalidDatasetProblem: they do not, or cannot be read.
    """
    try:
        labelled = dataset_classes(path, limits)
    except DatasetError as error:
        issues = [ProblemError(i.reason, i.file, EVALUATE, i.class_name) for i in error.issues]
        fault = issues or [ProblemError(error.message, field=EVALUATE)]
        raise InvalidDatasetProblem(f"`{EVALUATE}`: {error.message}", fault) from error
    if not set(labelled) & set(names):
        message = f"they label none of the checkpoint's classes, but {', '.join(labelled[:20])}"
        raise InvalidDatasetProblem(
            f"`{EVALUATE}`: {message}", [ProblemError(message, field=EVALUATE)]
        )


def _folder(names: Sequence[str]) -> str:
    """Return the folder that holds the model, "" or one with its slash.

    Raises:
        InvalidCheckpointProblem: no model, or several.
    """
    places = [name for name in names if posixpath.basename(name) == CONFIG]
    if CONFIG in places:
        return ""
    near = [name for name in places if name.count("/") == 1]
    if len(near) == 1:
        return near[0].removesuffix(CONFIG)
    if near:
        raise _refused(f"there are {len(near)} models in the zip, and one can be imported", CONFIG)
    raise _refused("missing: it must lie at the root of the zip or one folder down", CONFIG)


def _check_weights(inside: Collection[str], allow_pickle: bool) -> None:
    if any(name.endswith(WEIGHTS) for name in inside):
        return
    pickled = next((name for name in sorted(inside) if name.endswith(PICKLED)), None)
    if pickled is None:
        raise _refused("missing", "model.safetensors")
    if not allow_pickle:
        raise _refused(
            "pickled weights can run code, so they are not read; save the model as safetensors, or "
            "import it on the service's own machine: sats import SOURCE --allow-pickle",
            pickled,
        )


def _read(source: Source, folder: str, inside: Collection[str]) -> Checkpoint:
    for name in (CONFIG, PREPROCESSOR):
        if name not in inside:
            raise _refused("missing", name)
    try:
        return read_checkpoint(source.read(folder + CONFIG), source.read(folder + PREPROCESSOR))
    except ModelError as error:
        raise _refused(str(error)) from error


def _foreground(checkpoint: Checkpoint, background: str | None) -> tuple[str, ...]:
    try:
        return checkpoint.class_order(background).foreground
    except ModelError as error:
        chosen = background not in (None, NO_BACKGROUND, *checkpoint.labels)
        fault = ProblemError(
            str(error),
            field=BACKGROUND_FIELD if chosen else CHECKPOINT,
            class_name=background if chosen else None,
        )
        raise InvalidCheckpointProblem(str(error), [fault]) from error


def _refused(reason: str, file: str | None = None) -> InvalidCheckpointProblem:
    fault = ProblemError(reason, file, CHECKPOINT)
    shown = f"{file}: {reason}" if file else reason
    return InvalidCheckpointProblem(f"the checkpoint cannot be imported: {shown}", [fault])
