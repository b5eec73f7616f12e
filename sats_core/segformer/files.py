"""The weight files of a checkpoint's directory, opened without running anything in them."""

import hashlib
import pickle
import reprlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from sats_core.data.names import MAX_NAME, printable
from sats_core.errors import ModelError
from sats_core.segformer.layout import (
    INDEX,
    MAX_BYTES,
    MAX_HEADER_BYTES,
    MAX_INDEX_BYTES,
    MAX_SHARDS,
    PICKLE,
    SAFETENSORS,
    SHARD,
)
from sats_core.segformer.strict_json import read_object

_KINDS = {SAFETENSORS: ".safetensors", PICKLE: ".bin"}


def weight_files(directory: Path, allow_pickle: bool) -> tuple[Path, ...]:
    """Return the weight files of a directory, sorted by name.

    One file `model.safetensors`, or the shards that `model.safetensors.index.json` names; only
    where neither is there and `allow_pickle` says so, `pytorch_model.bin` or its shards.

    Raises:
        ModelError: none of them, or an index that names what is no file of this directory.
    """
    for whole in (SAFETENSORS, PICKLE) if allow_pickle else (SAFETENSORS,):
        if (directory / whole).is_file():
            return _bounded([directory / whole])
        index = directory / (whole + INDEX)
        if index.is_file():
            return _bounded([directory / name for name in _shards(index, _KINDS[whole])])
    pickles = any((directory / name).is_file() for name in (PICKLE, PICKLE + INDEX))
    hint = f"; {PICKLE} is a pickle and not opened without being told to" if pickles else ""
    raise ModelError(f"the checkpoint has no {SAFETENSORS}{hint}")


def load_tensors(files: Sequence[Path]) -> dict[str, Tensor]:
    """Return every tensor by its name.

    Raises:
        ModelError: a file is damaged or holds something else, or two hold the same tensor.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in _load(file).items():
            if name in tensors:
                shown = printable(name[:MAX_NAME])
                raise ModelError(f"{file.name}: the tensor {shown} is in another shard too")
            tensors[name] = tensor
    return tensors


def checksum(files: Sequence[Path]) -> str:
    """Return the sha256 of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while piece := stream.read(2**20):
                digest.update(piece)
    return digest.hexdigest()


def _load(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        _check_header(file)
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        # Nothing but tensors and plain containers: no code of the file's is run.
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{file.name} holds something else than tensors") from error
    except Exception as error:  # a damaged file fails in many ways
        raise ModelError(f"{file.name} cannot be read: {str(error)[:200]}") from error
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in loaded.items()
    ):
        raise ModelError(f"{file.name} holds something else than tensors by their names")
    return dict(loaded)


def _check_header(file: Path) -> None:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise ModelError(f"{file.name}: its header has more than {MAX_HEADER_BYTES} bytes")


def _shards(index: Path, kind: str) -> list[str]:
    if index.stat().st_size > MAX_INDEX_BYTES:
        raise ModelError(f"{index.name}: larger than {MAX_INDEX_BYTES} bytes")
    table = read_object(index.read_bytes(), index.name, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise ModelError(f"{index.name}: weight_map must name the file of every tensor")
    found: set[str] = set()
    for shard in table.values():
        if not isinstance(shard, str) or not SHARD.fullmatch(shard) or not shard.endswith(kind):
            raise ModelError(f"{index.name}: {reprlib.repr(shard)} is no file of this directory")
        found.add(shard)
    if len(found) > MAX_SHARDS:
        raise ModelError(f"{index.name}: more than {MAX_SHARDS} files")
    missing = sorted(name for name in found if not (index.parent / name).is_file())
    if missing:
        raise ModelError(f"{index.name}: no such file: {', '.join(missing[:5])}")
    return sorted(found)


def _bounded(files: Sequence[Path]) -> tuple[Path, ...]:
    if sum(file.stat().st_size for file in files) > MAX_BYTES:
        raise ModelError(f"{files[0].name}: the weights have more than {MAX_BYTES} bytes")
    return tuple(files)
