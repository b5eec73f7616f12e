"""What the OpenAPI document says of `/tasks` beyond its parameters and records."""

from typing import Any

from app.http.problems import Responses
from app.tasks.posted import POSTED_NAMES
from app.tasks.schemas import SPEC_EXAMPLE

UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "title": "Upload",
                    "required": ["spec"],
                    "properties": {
                        "dataset": {
                            "type": "string",
                            "format": "binary",
                            "description": "A zip of labelled pictures in Pascal VOC layout: "
                            "`JPEGImages/`, `SegmentationClass/`, `classes.txt` or CVAT's "
                            "`labelmap.txt`, and `ImageSets/Segmentation/` if wanted. Or in "
                            "another layout that is read.",
                        },
                        "upload": {
                            "type": "string",
                            "description": "In place of `dataset`: what `POST /uploads` gave; "
                            "of one that came in parts once it is `done`.",
                        },
                        "dataset_url": {
                            "type": "string",
                            "description": "In place of `dataset`: the zip's place in a bucket "
                            "that `SATS_DATASET_BUCKETS` names, as `s3://pictures/sheep.zip`.",
                        },
                        "spec": {
                            "allOf": [{"$ref": "#/components/schemas/TaskSpec"}, POSTED_NAMES],
                            "description": "What to learn and how, as JSON.",
                        },
                    },
                },
                "example": {"dataset": "sheep.zip", "spec": SPEC_EXAMPLE},
                "encoding": {"spec": {"contentType": "application/json"}},
            }
        },
    }
}

LOG: Responses = {
    200: {
        "description": "The last lines, the oldest first; empty before the task has started.",
        "content": {
            "text/plain": {
                "schema": {"type": "string", "description": "Times are in UTC."},
                "example": "2026-11-21T16:51:04Z training\n"
                "2026-11-21T16:51:18Z epoch 1 of 10: cross_entropy 0.4212\n",
            }
        },
    }
}
