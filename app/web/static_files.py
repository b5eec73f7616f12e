"""`/static`: the files that pages load, under a name that changes with their contents."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from fastapi import APIRouter, Response

from app.admin.downloads import IfNoneMatch, is_known
from app.errors import NotFoundProblem

TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
"""By a file's suffix; what has another one is not served."""

FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class StaticFile:
    """A file that pages load.

    Attributes:
        place: where it lies.
        media_type: what it is.
        etag: changes with its bytes.
    """

    place: Traversable
    media_type: str
    etag: str


def _found(folder: Traversable, prefix: str = "") -> dict[str, StaticFile]:
    known: dict[str, StaticFile] = {}
    for one in folder.iterdir():
        name = prefix + one.name
        if one.is_dir():
            known |= _found(one, f"{name}/")
        elif (media_type := TYPES.get(PurePosixPath(one.name).suffix)) is not None:
            etag = f'"{hashlib.sha256(one.read_bytes()).hexdigest()[:32]}"'
            known[name] = StaticFile(one, media_type, etag)
    return known


FILES = _found(files("app.web") / "static")
RELEASE = hashlib.sha256(
    "".join(f"{name} {FILES[name].etag}\n" for name in sorted(FILES)).encode()
).hexdigest()[:12]
"""Of all files together: scripts import each other by names beside them."""

router = APIRouter(include_in_schema=False)


def static_url(name: str) -> str:
    """Return where a file is loaded from; a name that is none is a mistake of ours."""
    if name not in FILES:
        raise LookupError(f"pages load no file {name!r}")
    return f"/static/{RELEASE}/{name}"


@router.head("/static/{release}/{name:path}")
@router.get("/static/{release}/{name:path}")
async def static_file(release: str, name: str, known: IfNoneMatch = None) -> Response:
    """Return a file that pages load.

    Browsers keep it for ever under the name of this release. Under another one's, of a page that
    was loaded before an upgrade, they ask again each time.

    Raises:
        NotFoundProblem: there is no such file.
    """
    found = FILES.get(name)
    if found is None:
        raise NotFoundProblem("pages load no such file")
    caching = FOR_EVER if release == RELEASE else "no-cache"
    headers = {"ETag": found.etag, "Cache-Control": caching}
    if known is not None and is_known(found.etag, known):
        return Response(status_code=304, headers=headers)
    return Response(found.place.read_bytes(), media_type=found.media_type, headers=headers)
