"""What goes into an import."""

from typing import Any, ClassVar

from pydantic import ConfigDict, Field

from app.db import TaskKind
from app.records.posted import PostedNumbers
from app.registry.schemas import MODEL_PATTERN, Named, PostedName
from sats_core.record import Record
from sats_core.settings import KEPT_FEATURES

IMPORT_EXAMPLE: dict[str, Any] = {"name": "street model", "background": "none", "promote": True}


class ImportChoices(Record):
    """How to import a checkpoint; everything may be left out."""

    name: Named = Field("import", description="What people call the task.")
    create: bool = Field(
        False,
        strict=True,
        description="Make the model where there is none of this name; without it that is 404, but "
        "for a service's very first model.",
    )
    background: Named | None = Field(
        None,
        description="Which of the checkpoint's classes is the background: its name, or `none` for "
        "none, and then the version predicts no background until a step teaches it. By default the "
        "class 0 where that is called `background`, and none otherwise.",
    )
    features: int = Field(
        KEPT_FEATURES,
        ge=0,
        le=1_000_000,
        description="Pixels whose features are kept with the version, balanced over its classes, "
        "where `evaluate` has a split called `train` beside others: they tell the new classes of "
        "later steps what they are not. Vectors of numbers, no pictures; 0 keeps none.",
    )
    promote: bool = Field(True, description="Go live when it is imported; false holds the version.")


class ImportWish(PostedNumbers, ImportChoices):
    """How to import a checkpoint; everything may be left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [IMPORT_EXAMPLE, {}]})

    name: PostedName = Field("import", description=ImportChoices.model_fields["name"].description)
    background: PostedName | None = Field(
        None, description=ImportChoices.model_fields["background"].description
    )


class ImportSpec(ImportChoices):
    """An import as it was asked for and is stored."""

    kind: ClassVar[TaskKind] = TaskKind.IMPORT

    model: str = Field(
        "default", pattern=MODEL_PATTERN, description="The model that gets the version."
    )
    source: Named = Field(
        "checkpoint.zip", description="Where it came from: the zip's name, a directory, a hub id."
    )
    allow_pickle: bool = Field(
        False, description="Whether pickled weights may be read; only `sats import` can say so."
    )
