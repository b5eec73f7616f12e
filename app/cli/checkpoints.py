"""Where `sats import` finds a checkpoint, and the zip that it makes of it."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from app.errors import InvalidProblem, Problem
from app.imports.checking import check_weights
from sats_core.data.names import printable
from sats_core.segformer.layout import is_hub_id

MAX_NAME = 200


class HubProblem(Problem):
    """A hub does not answer, or not with the model."""

    status = 502
    slug = "hub"
    title = "The hub does not give the model"


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint on this machine.

    Attributes:
        directory: that holds its files.
        name: what the version says it came from.
    """

    directory: Path
    name: str


def found(source: str, target: Path, allow_pickle: bool) -> FoundCheckpoint:
    """Return the checkpoint that a source names.

    Args:
        source: a directory, or a model's id on the hub.
        target: where a hub's files go.
        allow_pickle: whether pickled weights are fetched.

    Raises:
        InvalidProblem: no such directory, and the source is no hub id either.
        HubProblem: the hub cannot be reached or has no such model.
    """
    directory = Path(source)
    if directory.is_dir():
        return FoundCheckpoint(directory, printable(directory.resolve().name)[:MAX_NAME] or "/")
    if not is_hub_id(source):
        raise InvalidProblem(f"{source}: no such directory, and not a model's id on the hub")
    _download(source, target, allow_pickle)
    return FoundCheckpoint(target, source[:MAX_NAME])


def pack(directory: Path, scratch: ExitStack, within: Path, allow_pickle: bool) -> Path:
    """Return a zip of what an import needs of a directory; it is gone with `scratch`.

    Raises:
        InvalidCheckpointProblem: the directory has no weights that may be read.
    """
    from sats_client.packing import checkpoint, packed

    check_weights({file.name for file in directory.iterdir()}, allow_pickle)
    return packed(directory, scratch, partial(checkpoint, pickles=allow_pickle), within)


def _download(source: str, target: Path, allow_pickle: bool) -> None:
    import huggingface_hub

    from sats_client.packing import CHECKPOINT, PICKLES

    patterns = [*CHECKPOINT, *(PICKLES if allow_pickle else ())]
    try:
        huggingface_hub.snapshot_download(source, local_dir=target, allow_patterns=patterns)
    except (OSError, ValueError, httpx.HTTPError) as error:
        first = str(error).strip().partition("\n")[0][:300]
        raise HubProblem(
            f"{source}: there is no such directory, and the hub does not give such a model "
            f"({first})"
        ) from error
    if not allow_pickle and not any(target.glob("*.safetensors")):
        raise HubProblem(
            f"{source} has no safetensors on the hub; --allow-pickle reads pytorch_model.bin"
        )
