"""A checkpoint that came as a zip, laid out as a directory; torch-free."""

import shutil
from pathlib import Path

from sats_core.data.sources import Source, ZipSource
from sats_core.errors import DatasetError
from sats_core.segformer import config, processor
from sats_core.segformer.layout import INDEX, MAX_FILE_BYTES, MAX_SHARDS, PICKLE, SAFETENSORS, SHARD
from sats_core.settings import Limits

_PIECE = 2**20
_NAMED = (config.FILE, processor.FILE, SAFETENSORS + INDEX, PICKLE + INDEX)


def checkpoint_config(path: Path, limits: Limits) -> tuple[bytes, bytes | None]:
    """Return `config.json` and, where there is one, `preprocessor_config.json` of a zip.

    Nothing is unpacked: for whoever takes the zip in and wants to answer at once.

    Raises:
        DatasetError: no zip, not a safe one, or without a checkpoint.
    """
    with _opened(path, limits) as source:
        folder = _folder(source)
        said = _small(source, folder + config.FILE, config.MAX_BYTES)
        shown = folder + processor.FILE
        there = shown in source.names()
        return said, _small(source, shown, processor.MAX_BYTES) if there else None


def unpack(path: Path, limits: Limits, target: Path) -> None:
    """Write the checkpoint's files, and no others, to `target`.

    Args:
        path: zip of the checkpoint's directory: its files at the root or one folder down.
        limits: of the whole zip; one file may have 2 GiB.
        target: replaced where it is there.

    Raises:
        DatasetError: no zip, not a safe one, damaged, or without a checkpoint.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with _opened(path, limits) as source:
        folder = _folder(source)
        inside = [name.removeprefix(folder) for name in source.names() if name.startswith(folder)]
        files = [name for name in inside if name in _NAMED or SHARD.fullmatch(name)]
        if len(files) > len(_NAMED) + MAX_SHARDS:
            raise DatasetError(f"the checkpoint has more than {MAX_SHARDS} weight files")
        for name in files:
            with source.stream(folder + name) as stream, (target / name).open("wb") as out:
                shutil.copyfileobj(stream, out, _PIECE)


def _opened(path: Path, limits: Limits) -> ZipSource:
    most = max(limits.max_file_bytes, MAX_FILE_BYTES)
    try:
        return ZipSource(path, limits.model_copy(update={"max_file_bytes": most}))
    except DatasetError as error:
        message = error.message.replace("the data set", "the checkpoint")
        raise DatasetError(message, error.issues) from error


def _folder(source: Source) -> str:
    """Return the folder that the checkpoint lies in, with a slash, or nothing for the root."""
    found = [name for name in source.names() if name.split("/")[-1] == config.FILE]
    if config.FILE in found:
        return ""
    near = [name for name in found if name.count("/") == 1]
    if len(near) != 1:
        what = f"{len(near)} folders with one" if near else "none"
        raise DatasetError(
            f"the zip of a checkpoint has {config.FILE} at its root or in its only folder; this "
            f"one has {what}"
        )
    return near[0].removesuffix(config.FILE)


def _small(source: Source, name: str, most: int) -> bytes:
    with source.stream(name) as stream:
        return stream.read(most + 1)
