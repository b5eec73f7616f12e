"""What comes out of `/admin`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.audit.schemas import ActorJson
from app.db import TaskKind
from app.db.base import JsonObject
from app.records.paging import Page
from app.records.stored import ShownAs
from app.registry.floor import ModelGate
from app.registry.gate import Approval, GateSettings
from app.registry.schemas import MAX_NUMBER
from app.retirement.schemas import RetirementJson
from sats_core.record import CLASS, CLASS_STORED


class ModelJson(BaseModel):
    """A model: a named line of versions."""

    name: str = Field(description="Its name.", examples=["default"])
    live: int | None = Field(description="Number of the live version; null before the first.")
    versions: int = Field(description="How many versions it has; deleted ones do not count.")
    classes: list[str] = Field(description="Classes of the live version, without background.")
    created_at: datetime = Field(description="When it was made.")


class ModelPage(Page[ModelJson]):
    """Some models, by name."""


class ClassJson(BaseModel):
    """A class of a version."""

    index: int = Field(description="Its value in masks; never changes.", examples=[17])
    name: str = Field(description="Its name.", examples=["sheep"])
    color: str = Field(description="Its colour in palettes and overlays.", examples=["#804000"])
    step: int = Field(description="The step that brought it; 0 is the base step.")


class ScoresJson(BaseModel):
    """Scores on held-out pictures, 0 to 1; null where no held-out picture shows the class.

    All of them are null where a version was imported without labelled pictures.
    """

    iou: dict[str, float | None] = Field(
        description="Intersection over union of every class, background included."
    )
    introduced: dict[str, float | None] = Field(
        description="The IoU each class had in the version that brought it."
    )
    forgetting: dict[str, float] = Field(
        description="`introduced` less `iou`, for every class known before the step."
    )
    miou_old: float | None = Field(
        description="Mean over background and the classes known before the step; null in a base "
        "step."
    )
    miou_new: float | None = Field(description="Mean over the classes that the step brought.")
    miou_all: float | None = Field(description="Mean over background and all classes.")
    mean_forgetting: float | None = Field(description="Mean of `forgetting`.")
    pixel_accuracy: float | None = Field(description="Share of the scored pixels that are right.")
    pictures: int = Field(description="Held-out pictures scored, of all tasks so far.")


class FigureJson(BaseModel):
    """What the gate saw of one class."""

    class_name: str = Field(
        validation_alias=CLASS_STORED, serialization_alias=CLASS, description="The class."
    )
    kind: Literal["old", "new"] = Field(description="Known before the step, or brought by it.")
    before: float | None = Field(description="IoU in the version before the step.")
    after: float | None = Field(description="IoU in this version.")
    passed: bool = Field(description="Whether this class lets the version go live.")


class GateJson(BaseModel):
    """What the gate decided."""

    passed: bool = Field(description="Whether the version went live by itself.")
    reasons: list[str] = Field(description="What held it, and what could not be measured.")
    figures: list[FigureJson] = Field(description="Every class that was looked at.")
    settings: Annotated[JsonObject, ShownAs(GateSettings)] = Field(
        description="The limits that were applied."
    )
    waived: list[str] = Field(
        [],
        description="Limits of the model's floor that the task, an admin's, was laxer than.",
    )


class GateInForceJson(BaseModel):
    """What a model's versions must reach to go live, whatever their tasks ask."""

    max_drop: float = Field(description="Most IoU that any old class may lose.")
    min_iou: float = Field(description="Least IoU of every new class.")
    approval: Approval = Field(
        description="`required`: what passes is held, imports too, until an admin promotes it."
    )
    hold_on_warnings: bool = Field(
        description="Whether a serious warning about a task's labels holds its version."
    )
    hold_on_unmeasured: bool = Field(
        description="Whether an old class, the background among them, that no held-out picture "
        "shows holds a version."
    )
    own: ModelGate = Field(
        description="What was set for this model; null: as the service's settings say."
    )
    changed_at: datetime | None = Field(
        description="When that was set last; null: never, or before it was recorded."
    )
    changed_by: ActorJson | None = Field(description="Who set it.")


class FileJson(BaseModel):
    """A file of a version."""

    name: str = Field(description="Its name.", examples=["model.onnx"])
    bytes: int = Field(description="Its size.")
    sha256: str = Field(description="Its checksum, hex.")
    href: str = Field(description="Where to download it.")


class MemoryJson(BaseModel):
    """Training pictures that a version keeps, to be replayed in later steps."""

    pictures: int = Field(description="How many are kept, of this step and of those before.")
    classes: dict[str, int] = Field(
        description="Pictures that show each class and are labelled for it."
    )
    bytes: int = Field(description="Size of the zip.")
    sha256: str = Field(description="Checksum of the zip, hex.")
    place: Literal["blob_store", "memory_folder"] = Field(
        description="Where they lie: among all blobs, or in the folder of SATS_MEMORY_DIR."
    )
    deleted_at: datetime | None = Field(
        description="When they were deleted; the record stays, the pictures are gone."
    )
    deleted_by: ActorJson | None = Field(description="Who deleted them; null: nobody, or unknown.")


class HeldOutJson(BaseModel):
    """Held-out pictures that are kept with a version, so that later ones are scored on them."""

    pictures: int = Field(description="How many are kept.")
    classes: list[str] = Field(description="What they are labelled for.")
    sha256: str = Field(description="Checksum of the zip, hex.")
    deleted_at: datetime | None = Field(
        description="When they were deleted; the record stays, the pictures are gone."
    )
    deleted_by: ActorJson | None = Field(description="Who deleted them; null: nobody, or unknown.")


class OriginJson(BaseModel):
    """Where an imported version came from."""

    source: str = Field(description="A directory's name, a hub id, a zip's name.")
    sha256: str = Field(description="Checksum of its weight files, by name one after the other.")
    architecture: str = Field(description="Class of the model, as its `config.json` names it.")
    transformers: str | None = Field(
        description="Version of the library that wrote it; null where the file does not say."
    )
    background: str | None = Field(
        description="Label that became the background; null: the checkpoint has none, and the "
        "version predicts none until a step teaches it."
    )


class VersionJson(BaseModel):
    """A version: what one step or one import made, for ever."""

    model: str = Field(description="The model.")
    version: int = Field(description="Its number in the model, from 1.")
    number: int = Field(
        description="The same as `version`, the word of every other answer.",
        json_schema_extra={"deprecated": True},
    )
    live: bool = Field(description="Whether it is the one that `/segment` uses.")
    kind: TaskKind = Field(description="What made it: a `step`, an `import` or a `retire`ment.")
    origin: OriginJson | None = Field(description="Where an import came from; null: no import.")
    retirement: RetirementJson | None = Field(
        description="What was taken away from its parent, and what was measured of it; null: "
        "nothing."
    )
    parent: int | None = Field(description="The version its step started from; null: none.")
    lineage: list[int] = Field(description="The versions it was learned through, itself last.")
    task: str = Field(description="Id of the task that made it.")
    method: str | None = Field(
        description="How the step fought forgetting; null: an import or a retirement."
    )
    created_at: datetime = Field(description="When it was registered.")
    classes: list[ClassJson] = Field(description="Its classes in channel order.")
    new_classes: list[str] = Field(description="The classes that its step brought.")
    scores: ScoresJson = Field(description="How well it does.")
    gate: GateJson | None = Field(
        description="Whether and why it went live by itself; null: an import that no gate judged."
    )
    backbone: str = Field(description="Its backbone: `pvt_v2_b0` to `b5`, or `mit_b0` to `b5`.")
    backbone_start: str = Field(
        description="Where the backbone's first weights came from; `scratch`: there were none."
    )
    effective_settings: dict[str, Any] = Field(
        description="What the step ran with: its settings, every default filled in, null what its "
        "method does not read, the kind of `device` and how many `devices` computed it; of an "
        "import its backbone and size alone."
    )
    seconds: float = Field(description="Wall time of the step or the import.")
    fusion: bool = Field(description="Whether old and new weights were averaged after the step.")
    replayed_pictures: int = Field(
        description="Pictures of the parent's memory that the step trained on."
    )
    memory: MemoryJson | None = Field(
        description="Training pictures that this version keeps; null: none."
    )
    held_out: HeldOutJson | None = Field(
        description="Held-out pictures that are kept with this version; null: none."
    )
    files: list[FileJson] = Field(description="Its files; none where it was deleted.")
    deleted_at: datetime | None = Field(
        description="When it was deleted; the record stays, the files are gone."
    )
    deleted_by: ActorJson | None = Field(description="Who deleted it; null: nobody, or unknown.")


class VersionPage(Page[VersionJson]):
    """Some versions, the newest first."""


MoveKind = Literal["gate", "import", "promote", "rollback"]


class MoveJson(BaseModel):
    """One move of the alias `live`."""

    sequence: int = Field(description="1 is the first move.")
    version: int = Field(description="The version it moved to.")
    kind: MoveKind = Field(
        description="What moved it: the gate by itself, an import, or an admin who promoted a "
        "version or rolled one back."
    )
    moved_at: datetime = Field(description="When.")
    by: ActorJson = Field(description="Who moved it; of the gate, the worker that ran the task.")


class Target(BaseModel):
    """Where an alias is to point."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(
        strict=True, ge=1, le=MAX_NUMBER, description="Number of the version.", examples=[2]
    )


class MovePage(Page[MoveJson]):
    """Some moves, the last one first."""


class PointJson(BaseModel):
    """One version in a chart."""

    version: int = Field(description="Its number.")
    created_at: datetime = Field(description="When it was registered.")
    live: bool = Field(description="Whether it is live now.")
    miou_old: float | None = Field(description="mIoU of the classes known before its step.")
    miou_new: float | None = Field(description="mIoU of the classes that its step brought.")
    miou_all: float | None = Field(description="mIoU of background and all classes.")
    mean_forgetting: float | None = Field(description="Mean IoU that old classes have lost.")
    classes: int = Field(description="How many classes it knows, background not counted.")
    iou: Mapping[str, float | None] = Field(
        description="IoU of every class, background included; null where no held-out picture "
        "shows the class."
    )


class CurveJson(BaseModel):
    """A model's versions in a chart."""

    model: str = Field(description="The model.")
    points: list[PointJson] = Field(
        description="Its versions, the oldest first: the newest that were asked for."
    )
    next_before: int | None = Field(
        description="`before` of a request for the versions before these; null: there are none.",
        examples=[801],
    )


class CurvesJson(BaseModel):
    """IoU over versions."""

    models: list[CurveJson] = Field(description="One curve a model.")
