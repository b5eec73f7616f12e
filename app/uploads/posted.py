"""The body of `POST /uploads`: a zip, or what is to be sent in parts."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, BinaryIO

from fastapi import Depends, Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from app.errors import BadRequestProblem, UnsupportedMediaProblem
from app.errors.fields import invalid_fields
from app.http.bodies import bounded
from app.http.dependencies import AppServices, Submitter
from app.http.examples import JSON
from app.http.multipart import SPEC_BYTES, file_part, read_form, too_large
from app.uploads.large_schemas import WISH_EXAMPLE, LargeUploadWish

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "title": "NewUpload",
                    "required": ["dataset"],
                    "properties": {
                        "dataset": {
                            "type": "string",
                            "format": "binary",
                            "description": "A zip of labelled pictures, as for `POST /tasks`.",
                        }
                    },
                },
                "example": {"dataset": "sheep.zip"},
            },
            JSON: {"schema": LargeUploadWish.model_json_schema(), "example": WISH_EXAMPLE},
        },
    }
}
"""What the OpenAPI document says of it."""


async def read_posted(
    request: Request, services: AppServices, _caller: Submitter
) -> AsyncIterator[BinaryIO | LargeUploadWish]:
    """Read a form with a zip, or JSON that announces one."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON:
        yield await _wish(request)
        return
    if kind != "multipart/form-data":
        raise UnsupportedMediaProblem(
            f"post `dataset` as multipart/form-data, or announce it as {JSON}"
        )
    async with read_form(request, ["dataset"], services.settings.max_upload_bytes, []) as form:
        yield file_part(form, "dataset")


async def _wish(request: Request) -> LargeUploadWish:
    try:
        body = await bounded(request, SPEC_BYTES, too_large("body", SPEC_BYTES)).body()
    except ClientDisconnect as error:
        raise BadRequestProblem("the connection was closed before the body was whole") from error
    try:
        return LargeUploadWish.model_validate_json(body)
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False, include_input=False)) from error


PostedUpload = Annotated[BinaryIO | LargeUploadWish, Depends(read_posted, scope="function")]
