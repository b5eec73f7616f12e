"""A version's files into a folder: checked, and taken up again where they were cut off."""

import hashlib
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from sats_client._calls import version
from sats_client._flow import (
    Answer,
    Flow,
    Lost,
    Open,
    Read,
    Request,
    Sleep,
    Work,
    passes,
    pause,
    refused,
)
from sats_client.errors import BadAnswer, Damaged, Overloaded, Unreachable
from sats_client.models import File, Version

_PART = ".part"
_LONGEST_REFUSAL = 1024 * 1024
_CHUNK = 1 << 20
_TRIES = 5
"""Without a byte between them."""


def exported(model: str, number: int, directory: Path) -> Flow[Version]:
    """Write a version's files to a folder; what is there already and whole is left as it is.

    Raises:
        Damaged: a file is not what its checksum says; it was removed.
        OSError: it cannot be written.
    """
    found = yield from version(model, number)
    directory.mkdir(parents=True, exist_ok=True)
    for file in found.files:
        if file.name in ("", ".", "..") or Path(file.name).name != file.name or "\\" in file.name:
            raise BadAnswer(f"{file.name!r} is no name of a file")
        yield from _file(file, directory / file.name)
    return found


def _file(file: File, target: Path) -> Flow[None]:
    if (yield Work(partial(_is_whole, target, file))):
        return
    part = target.with_name(target.name + _PART)
    for _ in range(2):  # what was left there may be the beginning of another version's file
        yield from _downloaded(file, part)
        if (yield Work(partial(_is_whole, part, file))):
            part.replace(target)
            return
        part.unlink()
    raise Damaged(f"{file.name} is not what its checksum says; it was removed")


def _downloaded(file: File, part: Path) -> Flow[None]:
    tries = 0
    while not part.exists() or _size(part) < file.bytes:
        have, wait, why = _size(part), None, "the connection was cut"
        request = _rest(file, have)
        try:
            yield from _read_on(request, part, file.bytes)
        except Lost as lost:
            why = str(lost)
        except Overloaded as problem:
            if not passes(problem, request):
                raise
            why, wait = str(problem), problem.retry_after
        tries = 1 if _size(part) > have else tries + 1
        if not part.exists() or _size(part) < file.bytes:
            if tries >= _TRIES:
                raise Unreachable(f"{file.name}: {why}")
            yield Sleep(pause(tries, wait))


def _rest(file: File, have: int) -> Request:
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    return Request("GET", urlsplit(file.href).path, headers=headers)


def _read_on(request: Request, part: Path, most: int) -> Flow[None]:
    """Read what is left of a file of `most` bytes; what comes beyond is left where it is."""
    stream = yield Open(request)
    if stream.status not in (200, 206):
        body = b""
        while len(body) < _LONGEST_REFUSAL and (chunk := (yield Read(stream))):
            body += chunk
        raise refused(request, Answer(stream.status, stream.headers, body))
    mode = "ab" if stream.status == 206 else "wb"
    with (yield Work(partial(part.open, mode))) as out:
        while out.tell() <= most and (chunk := (yield Read(stream))):
            yield Work(partial(out.write, chunk))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_whole(path: Path, file: File) -> bool:
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as data:
        while chunk := data.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == file.sha256
