"""The body of `:retire`: JSON, or a form that brings labelled pictures too."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from fastapi import Depends, Request

from app.errors import UnsupportedMediaProblem
from app.http.dependencies import Admin, AppServices
from app.http.multipart import SPEC, file_part, json_body, json_part, read_form
from app.keys.service import Caller
from app.retirement.checking import CLASSES, DATASET
from app.retirement.schemas import RetireWish

_FORM = "multipart/form-data"


@dataclass(frozen=True)
class RetireUpload:
    """What was posted.

    Attributes:
        caller: who posted it.
        wish: which classes to take away, and how far; valid in itself.
        dataset: a zip of labelled pictures, on disk, closed when the request ends; None: none.
        classes_field: where the classes stand in the body.
    """

    caller: Caller
    wish: RetireWish
    dataset: BinaryIO | None
    classes_field: str


async def read_retirement(
    request: Request, services: AppServices, caller: Admin
) -> AsyncIterator[RetireUpload]:
    """Read the body, once the caller is known; a zip goes to a temporary file as it comes in."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        yield RetireUpload(caller, await json_body(request, RetireWish), None, CLASSES)
        return
    if kind != _FORM:
        raise UnsupportedMediaProblem(
            f"post JSON as application/json, or `{SPEC}` and `{DATASET}` as {_FORM}"
        )
    async with read_form(request, [DATASET], services.settings.max_upload_bytes) as form:
        wish = await json_part(form, SPEC, RetireWish)
        dataset = file_part(form, DATASET) if DATASET in form else None
        yield RetireUpload(caller, wish, dataset, f"{SPEC}.{CLASSES}")


PostedRetirement = Annotated[RetireUpload, Depends(read_retirement, scope="function")]
