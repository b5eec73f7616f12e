"""What the OpenAPI document says of `/segment`, beside what FastAPI reads off the code."""

from typing import Any

from app.http.problems import Responses
from app.segmentation.schemas import PICTURES_EXAMPLE, PicturesJson
from app.segmentation.upload import FIELDS

_PICTURE: dict[str, Any] = {
    "type": "string",
    "format": "binary",
    "description": "A PNG, JPEG, WebP, BMP or TIFF.",
}
_FIELD: dict[str, Any] = {
    "type": "array",
    "items": _PICTURE,
    "description": "Pictures, a file each. All these names mean the same.",
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One or more pictures as a form or in JSON, or one as the body itself.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "title": "Pictures",
                    "minProperties": 1,
                    "properties": dict.fromkeys(FIELDS, _FIELD),
                }
            },
            "application/json": {
                "schema": PicturesJson.model_json_schema(),
                "example": PICTURES_EXAMPLE,
            },
            "image/*": {"schema": _PICTURE},
            "application/octet-stream": {"schema": _PICTURE},
        },
    }
}
_HEADERS: dict[str, Any] = {
    "X-Sats-Model": {"description": "The model that answered.", "schema": {"type": "string"}},
    "X-Sats-Version": {
        "description": "Number of the version that answered.",
        "schema": {"type": "integer"},
    },
}


def _binary(description: str) -> dict[str, Any]:
    return {"schema": {"type": "string", "format": "binary", "description": description}}


ANSWERS: Responses = {
    200: {
        "description": "What the pictures show, as `Accept` asks. `application/json` is the "
        "default, and the only one for several pictures.",
        "headers": _HEADERS,
        "content": {
            "image/png": _binary(
                "An 8-bit palette PNG whose values are class indices. With `profile=overlay` the "
                "picture with its classes in colour; with `profile=confidence` an 8-bit grey PNG "
                "of the probability of each pixel's best class, 255 being 1."
            ),
            "image/webp": _binary(
                "`image/webp; profile=overlay`, and `image/webp` too: the picture with its classes "
                "in colour. No side is longer than 16,383 pixels."
            ),
            "application/x-npz": _binary(
                "An archive that `numpy.load` reads, without pickles: `labels` (H, W) uint8, class "
                "indices; `scores` (H, W) float16, the probability of each pixel's best class; "
                "`classes`, names of the version's classes, and `indices` uint8, theirs in "
                "`labels`."
            ),
        },
    }
}
