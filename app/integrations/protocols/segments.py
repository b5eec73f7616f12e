"""Requests and answers of Hugging Face's image segmentation."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import InvalidProblem
from app.errors.fields import invalid_fields
from app.inference.cutting import Cut, Segmented
from app.inference.engine import Inference
from app.inference.loaded_graphs import Choice, Served
from app.integrations.protocols.documentation import body_schema
from app.segmentation import service
from app.segmentation.json_pictures import decoded
from app.segmentation.schemas import PICTURES_EXAMPLE
from app.segmentation.upload import PostedPicture
from sats_core.classes import ClassInfo

_MOST_MARKS = 50
"""Commas of a body: base64 has none, and so few make few values, whatever it is."""
_COMPRESSION = 1
"""zlib level: of two values alone, more takes longer and saves little."""

REQUEST_EXAMPLE = {"inputs": PICTURES_EXAMPLE["image"], "parameters": {"mask_threshold": 0.5}}


class ParametersJson(BaseModel):
    """What a segment must be; null is as if it were not there."""

    model_config = ConfigDict(extra="forbid")

    threshold: float | None = Field(
        None, ge=0, le=1, description="Segments with a lower score are left out."
    )
    mask_threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Pixels to whose class the model gives a lower probability are background.",
    )
    overlap_mask_area_threshold: float | None = Field(
        None, ge=0, le=1, description="Of no effect: one class a pixel, so that no masks overlap."
    )
    subtask: Literal["semantic"] | None = Field(
        None, description="`semantic`; instances are not told apart."
    )


class WishJson(BaseModel):
    """A picture in base64, and what its segments must be."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [REQUEST_EXAMPLE]})

    inputs: str = Field(
        description="A picture's file in base64; a `data:` URL's prefix may stand before it."
    )
    parameters: ParametersJson | None = Field(None, description="What its segments must be.")


class SegmentJson(BaseModel):
    """A class that the picture shows."""

    label: str = Field(description="Its name.", examples=["cup"])
    score: float | None = Field(
        description="Mean probability that the model gives to it over its pixels, 0 to 1. Of "
        "background: over those that the model itself calls so; null where there are none.",
        examples=[0.9312],
    )
    mask: str = Field(
        description="An 8-bit grey PNG of the picture's size in base64: 255 where it is, else 0.",
        examples=[
            "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAAAAADRSSBWAAAAC0lEQVR4nGP8"
            "zwAAAgQBAcc81xUAAAAASUVORK5CYII="
        ],
    )


@dataclass(frozen=True)
class Wish:
    """A posted picture, and what its segments must be."""

    picture: PostedPicture
    threshold: float = 0.0
    mask_threshold: float = 0.0


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A picture as the body itself, or in JSON.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary", "description": "A picture."}}
            for kind in ("image/*", "application/octet-stream")
        }
        | {"application/json": {"schema": body_schema(WishJson), "example": REQUEST_EXAMPLE}},
    }
}


def read_wish(body: bytes) -> Wish:
    """Read a body of JSON.

    Raises:
        InvalidProblem: it is no such JSON, or its picture is not base64.
    """
    if body.count(b",") > _MOST_MARKS:
        raise InvalidProblem("the body has more values than `inputs` and `parameters`")
    try:
        posted = WishJson.model_validate_json(body)
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False, include_input=False)) from error
    asked = posted.parameters or ParametersJson()
    return Wish(
        PostedPicture("inputs", decoded(posted.inputs, "inputs")),
        asked.threshold or 0.0,
        asked.mask_threshold or 0.0,
    )


async def infer(
    inference: Inference, choice: Choice, wish: Wish, max_pixels: int
) -> tuple[Served, bytes]:
    """Return who answers, and the body of the answer. Cancelled, it takes its work back.

    Raises:
        GraphError, ClosedError, TooLargeProblem, InvalidProblem: as `service.answer`.
    """
    served = await inference.served(choice)
    how, classes = Cut(min_score=wish.mask_threshold), served.graph.catalogue.classes

    def segments(_: PostedPicture, found: Segmented) -> bytes:
        shown = _shown(found, classes, wish.threshold)
        return b",".join(_segment(found, one) for one in shown)

    (body,) = await service.delivered(inference, served, [wish.picture], how, max_pixels, segments)
    return served, b"[" + body + b"]"


def _shown(found: Segmented, classes: Sequence[ClassInfo], threshold: float) -> list[ClassInfo]:
    """Return the classes that a mask shows, less those that are not sure enough."""
    counts = np.asarray(Image.fromarray(found.mask).histogram())
    shown = [c for c in classes if counts[c.index]]
    return [c for c in shown if found.scores.get(c.index, 0.0) >= threshold]


def _segment(found: Segmented, info: ClassInfo) -> bytes:
    buffer = BytesIO()
    alone = Image.fromarray((found.mask == info.index).view(np.uint8) * np.uint8(255))
    alone.save(buffer, "PNG", compress_level=_COMPRESSION)
    mask = base64.b64encode(buffer.getbuffer()).decode()
    said = {"label": info.name, "score": found.scores.get(info.index), "mask": mask}
    return json.dumps(said).encode()
