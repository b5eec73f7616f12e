"""The pages and the files that they load."""

from fastapi import APIRouter

from app.web import held_out, home, login, models, new_task, reference, static_files, tasks, try_it

router = APIRouter(include_in_schema=False)
for part in (home, new_task, tasks, models, held_out, try_it, reference, login, static_files):
    router.include_router(part.router)
