"""What the OpenAPI document says of the ML backend, beside what FastAPI reads off the code."""

from typing import Any

from app.errors import (
    BadRequestProblem,
    ConflictProblem,
    NoLiveVersionProblem,
    NotFoundProblem,
    NotReadyProblem,
    TooLargeProblem,
)
from app.http.problems import responses
from app.http.services import Services
from app.integrations.label_studio.asking import ImportAskedProblem
from app.keys.problems import PICTURE_PROBLEMS, RequestLimitProblem, TaskLimitProblem
from app.registry.schemas import MODEL_PATTERN


class LabelStudioMissingProblem(ConflictProblem):
    """The settings name no Label Studio, so that no picture could be fetched."""

    slug = "label-studio-missing"
    title = "No Label Studio is configured"


PREFIX = "/integrations/label-studio"

MODEL: dict[str, Any] = {
    "parameters": [
        {
            "name": "model",
            "in": "path",
            "required": True,
            "description": "The model's name.",
            "schema": {"type": "string", "pattern": MODEL_PATTERN},
        }
    ]
}
BODY: dict[str, Any] = {
    "requestBody": {
        "description": "What Label Studio sends.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
PREDICT = responses(
    BadRequestProblem,
    LabelStudioMissingProblem,
    NoLiveVersionProblem,
    NotFoundProblem,
    NotReadyProblem,
    *PICTURE_PROBLEMS,
    TooLargeProblem,
)
WEBHOOK = responses(
    BadRequestProblem,
    ImportAskedProblem,
    LabelStudioMissingProblem,
    RequestLimitProblem,
    TaskLimitProblem,
    TooLargeProblem,
)


def check_configured(services: Services) -> None:
    """Check that pictures can be fetched.

    Raises:
        LabelStudioMissingProblem: nobody said from where.
    """
    if services.settings.label_studio_url is None:
        raise LabelStudioMissingProblem(
            "set SATS_LABEL_STUDIO_URL and SATS_LABEL_STUDIO_API_KEY: pictures are fetched from "
            "there alone"
        )
