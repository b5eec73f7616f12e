"""Pages and the files that they load."""

from importlib.resources import files
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of pages: what they load and whom they ask is this service."""

_STATIC = files("app.web") / "static"
_HTML, _SCRIPT = "text/html", "text/javascript"
_TYPES = {
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
    "answers.js": _SCRIPT,
    "drawing.js": _SCRIPT,
    "npz.js": _SCRIPT,
    "try.js": _SCRIPT,
}
File = Literal["style.css", "icon.svg", "answers.js", "drawing.js", "npz.js", "try.js"]

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home() -> Response:
    """Lead to where somebody who has opened the service in a browser can do something."""
    return RedirectResponse("/try")


@router.get("/try")
async def try_it() -> Response:
    """Show a picture of the visitor's own as a version sees it; `/segment` asks for the key."""
    return _file("try.html", _HTML)


@router.get("/static/{name}")
async def static_file(name: File) -> Response:
    """Return a file that pages load."""
    return _file(name, _TYPES[name])


def _file(name: str, media_type: str) -> Response:
    # Asked for again with each page: after an upgrade no page runs with the script of another.
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return Response((_STATIC / name).read_bytes(), media_type=media_type, headers=headers)
