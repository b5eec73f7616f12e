"""The pages and the files that they load."""

from fastapi import APIRouter

from app.errors import NotFoundProblem
from app.web import (
    audit,
    compare,
    held_out,
    home,
    keys,
    login,
    models,
    new_task,
    reference,
    settings,
    static_files,
    tasks,
    try_it,
)
from app.web.visitors import Anybody, PageRoute

router = APIRouter(include_in_schema=False, route_class=PageRoute)
for part in (home, new_task, tasks, models, held_out, compare, try_it, keys, audit, settings):
    router.routes.extend(part.router.routes)
for part in (reference, login, static_files):
    router.routes.extend(part.router.routes)


@router.get("/ui/{path:path}")  # the last: what no other has taken
def no_page(_visitor: Anybody, path: str) -> None:
    """Say on a page that there is none.

    Raises:
        NotFoundProblem: always.
    """
    raise NotFoundProblem(f"there is no page /ui/{path}")
