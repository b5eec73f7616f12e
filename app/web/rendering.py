"""Templates, and what a page tells the browser that shows it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response

from app.web.navigation import links
from app.web.static_files import static_url

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content-Security-Policy of pages: what they load and whom they ask is this service."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    # Of our own pages alone a form tells where it comes from.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def page(
    request: Request, template: str, context: Mapping[str, Any], status: int = 200
) -> Response:
    """Return a page.

    Args:
        request: that asks for it; its path says which link of the navigation is the present one.
        template: in `templates/`.
        context: what the template names.
        status: of the answer.
    """
    text = (
        templates()
        .get_template(template)
        .render(path=request.url.path, visitor=getattr(request.state, "visitor", None), **context)
    )
    return Response(text, status, HEADERS, "text/html")


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share of 1 in hundredths; a dash where it was not measured."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def change(before: float | None, after: float | None) -> str:
    """Return by how many hundredths a share has changed, with its sign; "" where nobody can say."""
    if before is None or after is None:
        return ""
    points = round(100 * (after - before), 1) or 0.0  # no "-0.0"
    return f"{'−' if points < 0 else '+' if points > 0 else '±'}{abs(points):.1f}"


def size(count: int) -> str:
    """Return bytes as people say them."""
    shown = float(count)
    for unit in ("B", "KB", "MB"):
        if shown < 1000:
            return f"{shown:.0f} {unit}" if unit == "B" else f"{shown:.1f} {unit}"
        shown /= 1000
    return f"{shown:.1f} GB"


def short(count: int) -> str:
    """Return a count as people say it: four digits at most."""
    shown = float(count)
    for unit in ("", " k", " M"):
        if round(shown, 1) < 1000:
            return f"{shown:.1f}{unit}" if unit else str(count)
        shown /= 1000
    return f"{shown:.1f} G"


def duration(seconds: float | None) -> str:
    """Return a time span as people say it; a dash where it is not known."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def moment(when: datetime) -> str:
    """Return a time as it stands in a page before the browser tells how long ago it was."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


@cache
def templates() -> "Environment":
    """Return the pages' templates; made for the first page that is asked for."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("app.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    shown = (percent, change, size, short, duration, moment)
    made.filters.update({one.__name__: one for one in shown})
    made.globals.update(static=static_url, links=links)
    return made
