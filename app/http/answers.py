"""Large answers, written where they are made."""

from collections.abc import Mapping

from fastapi import Response
from pydantic import BaseModel


def json_answer(body: BaseModel, headers: Mapping[str, str] | None = None) -> Response:
    """Return a record as JSON, written in the endpoint's own thread.

    FastAPI writes what an endpoint returns in the event loop: of hundreds of KiB every other
    request would wait for it.
    """
    return Response(
        body.model_dump_json(by_alias=True), media_type="application/json", headers=headers
    )
