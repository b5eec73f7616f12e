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

router = APIRouter(include_in_schema=False)
for part in (home, new_task, tasks, models, held_out, compare, try_it, keys, audit, settings):
    router.include_router(part.router)
for part in (reference, login, static_files):
    router.include_router(part.router)

_others = APIRouter(include_in_schema=False, route_class=PageRoute)


@_others.get("/ui/{path:path}")
def no_page(_visitor: Anybody, path: str) -> None:
    """Say on a page that there is none.

    Raises:
        NotFoundProblem: always.
    """
    raise NotFoundProblem(f"there is no page /ui/{path}")


router.include_router(_others)
