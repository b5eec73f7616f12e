"""What goes out of `/integrations/label-studio`."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.db import LabelStudioProject, ProjectState

REGION: dict[str, Any] = {
    "id": "9f1c2ab07d",
    "from_name": "polygon",
    "to_name": "image",
    "type": "polygonlabels",
    "original_width": 640,
    "original_height": 480,
    "image_rotation": 0,
    "value": {
        "points": [[12.5, 20.0], [40.0, 20.0], [40.0, 62.5]],
        "closed": True,
        "polygonlabels": ["cup"],
    },
    "score": 0.9312,
}
PROJECT: dict[str, Any] = {
    "project": 3,
    "model": "default",
    "state": "fetching",
    "wanted": False,
    "annotations": 0,
    "pictures": 120,
    "pictures_in_all": 246,
    "classes": ["cup"],
    "warnings": ["task 17 is left out: its picture is not there"],
    "error": "Label Studio does not answer: 503",
    "task": "/tasks/6ce988a8-4179-4e3d-bf03-ced646808cc3",
    "asked_at": "2026-11-22T06:01:02.685000Z",
}
VERSION = "The live version, as `model@number`; `model@0` while none is live."


def version_name(model: str, number: int) -> str:
    """Return what predictions name a model's version; 0 while none is live."""
    return f"{model}@{number}"


class LabelStudioHealthJson(BaseModel):
    """The backend is there."""

    status: str = Field("UP", description="Always `UP`.")
    model_class: str = Field("SATS", description="What it is.")


class LabelStudioSetupJson(BaseModel):
    """What predictions made now would name as their version."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: str = Field(description=VERSION, examples=["default@3"])


class LabelStudioVersionsJson(BaseModel):
    """The model's versions."""

    versions: list[str] = Field(
        description="`model@number` of each, the newest first.", examples=[["default@3"]]
    )


class LabelStudioPredictionJson(BaseModel):
    """What one picture shows."""

    model_config = ConfigDict(protected_namespaces=())

    result: list[dict[str, Any]] = Field(
        description="Regions of type `brushlabels` or `polygonlabels`; none where the picture "
        "cannot be used.",
        examples=[[REGION]],
    )
    score: float | None = Field(
        None,
        description="The mean probability of its pixels' best classes, 0 to 1: the lowest is what "
        "to label next.",
        examples=[0.8714],
    )
    model_version: str = Field(description="The version that answered.", examples=["default@3"])


class LabelStudioPredictionsJson(BaseModel):
    """As many results as tasks, in their order."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: str = Field(description="The version that answered.", examples=["default@3"])
    results: list[LabelStudioPredictionJson | list[LabelStudioPredictionJson]] = Field(
        description="Of each task its prediction; an empty list where it should be asked for again "
        "later."
    )


class LabelStudioToldJson(BaseModel):
    """An action was noted."""

    status: str = Field("ok", description="Always `ok`.")


class LabelStudioProjectJson(BaseModel):
    """What a model learned from a project last, and what it is about to."""

    model_config = ConfigDict(json_schema_extra={"examples": [PROJECT]})

    project: int = Field(description="The project's number in Label Studio.")
    model: str = Field(description="The model that learns from it.")
    state: ProjectState = Field(
        description="`never`: nobody asked for training; `waiting`: for a worker, or for the end "
        "of the task before; `fetching`: annotations and pictures; `queued`: they are a task, see "
        "`task`; `nothing_new`: they show no class that the model does not know; `failed`."
    )
    wanted: bool = Field(description="Whether one more was asked for while this one is fetched.")
    annotations: int = Field(
        description="New annotations that its webhook has told of since training was asked for; "
        "counted where `SATS_LABEL_STUDIO_ANNOTATIONS` is set."
    )
    pictures: int = Field(description="Tasks that are used, so far.")
    pictures_in_all: int = Field(description="Tasks with annotations.")
    classes: list[str] = Field(description="Classes that the pictures show, known ones too.")
    warnings: list[str] = Field(description="What was left out, and why.")
    error: str | None = Field(
        description="Why it failed, or why it is tried again; null where nothing went wrong."
    )
    task: str | None = Field(description="Path of the task that was made last.")
    asked_at: datetime | None = Field(description="When training was asked for last.")

    @classmethod
    def of(cls, row: LabelStudioProject, task: str | None) -> "LabelStudioProjectJson":
        """Return how a project looks over HTTP, with the id of its task where that may be seen."""
        return cls(
            project=row.project,
            model=row.model,
            state=row.state,
            wanted=row.wanted,
            annotations=row.annotations,
            pictures=row.pictures,
            pictures_in_all=row.pictures_in_all,
            classes=row.classes,
            warnings=row.warnings,
            error=row.error,
            task=None if task is None else f"/tasks/{task}",
            asked_at=row.asked_at,
        )

    @classmethod
    def waiting(cls, row: LabelStudioProject) -> "LabelStudioProjectJson":
        """Return how a project looks to the key whose import follows another key's."""
        return cls(
            project=row.project,
            model=row.model,
            state=ProjectState.WAITING,
            wanted=False,
            annotations=row.annotations,
            pictures=0,
            pictures_in_all=0,
            classes=[],
            warnings=[],
            error=None,
            task=None,
            asked_at=row.asked_at,
        )
