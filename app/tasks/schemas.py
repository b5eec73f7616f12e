"""What goes in and out of `/tasks`."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from app.audit.schemas import ActorJson
from app.db import TaskKind
from app.db.base import JsonObject
from app.errors.schemas import ProblemJson
from app.imports.schemas import ImportSpec
from app.records.paging import Page
from app.records.stored import ShownAs
from app.registry.floor import GateWish
from app.registry.schemas import MAX_NUMBER, MODEL_PATTERN, Named
from app.retirement.schemas import RetireSpec
from app.tasks.event_schemas import ProgressJson
from app.tasks.placement import Placement
from app.tasks.states import TaskOutcome, TaskPhase, TaskStateJson
from sats_core.classes import MAX_CLASSES
from sats_core.job import HeldOutChoice
from sats_core.label_report import LabelReport
from sats_core.record import Record
from sats_core.settings import OfferedMethod, StepSettings

SPEC_EXAMPLE: dict[str, Any] = {
    "name": "sheep",
    "model": "default",
    "classes": ["sheep"],
    "method": "frozen",
    "gate": {"max_drop": 0.05, "min_iou": 0.3},
}
TRAINED_EXAMPLE: dict[str, Any] = {
    "name": "sheep",
    "method": "sats_plus",
    "epochs": 30,
    "preview": True,
}

PREVIEW_METHOD = "frozen"
"""How a preview learns."""


class Wanted(Record):
    """What a task is to learn."""

    name: Named = Field(description="What people call the task.")
    model: str = Field(
        "default",
        pattern=MODEL_PATTERN,
        description="The model that learns.",
    )
    create: bool = Field(
        False,
        strict=True,
        description="Make the model where there is none of this name; without it that is 404, but "
        "for a service's very first model.",
    )
    parent: int | None = Field(
        None,
        ge=1,
        le=MAX_NUMBER,
        description="Number of the version to start from, held ones too; by default the one that "
        "is live when the step starts.",
    )
    classes: list[Named] | None = Field(
        None,
        min_length=1,
        max_length=MAX_CLASSES,
        description="Classes of the data set to learn now; by default all that the model does not "
        "know yet. What the data set labels beside them counts as background.",
    )
    held_out: HeldOutChoice = Field(
        default_factory=HeldOutChoice,
        description="Which pictures are kept out of training, to score the new version on.",
    )
    gate: GateWish = Field(
        default_factory=GateWish,
        description="What the new version must reach to go live by itself.",
    )

    @field_validator("classes")
    @classmethod
    def _each_once(cls, names: list[str] | None) -> list[str] | None:
        if names is not None and len(set(names)) < len(names):
            raise ValueError("a class is named twice")
        return names


class TaskSpec(Placement, StepSettings, Wanted):
    """What a task is to learn and how; only `name` is needed."""

    kind: ClassVar[TaskKind] = TaskKind.STEP

    method: OfferedMethod = Field(
        StepSettings.model_fields["method"].default,
        description=StepSettings.model_fields["method"].description,
    )
    preview: bool = Field(
        False,
        description="Queue a task by `frozen` before this one, on the same pictures and from the "
        "same version: a first version within seconds to minutes, which this task's version "
        "replaces. Not where `method` is `frozen`, as it is by default: such a step is its own "
        "preview. Nor in a model's base step.",
    )

    model_config = ConfigDict(
        allow_inf_nan=False,
        json_schema_extra={"examples": [SPEC_EXAMPLE, {"name": "sheep"}, TRAINED_EXAMPLE]},
    )

    @field_validator("method", mode="before")
    @classmethod
    def _not_joint(cls, name: object) -> object:
        if name == "joint":
            raise ValueError(
                "joint is not offered: it trains on the pictures of all steps at once, and the "
                "service keeps none; it is what the benchmarks measure against"
            )
        return name

    @field_validator("preview")
    @classmethod
    def _not_of_frozen(cls, preview: bool, info: ValidationInfo) -> bool:
        if preview and info.data.get("method") == PREVIEW_METHOD:
            raise ValueError(
                f"a step by {PREVIEW_METHOD}, which is the default, is its own preview: name the "
                "method that is to follow it, sats_plus for instance"
            )
        return preview

    def preview_spec(self) -> "TaskSpec":
        """Return the spec of this step's preview, which differs only in how it learns."""
        how = {"method": PREVIEW_METHOD, "method_settings": {}, "fusion": False, "preview": False}
        return TaskSpec.model_validate(self.model_dump() | how)

    def step_settings(self) -> StepSettings:
        """Return the part that the learning core reads."""
        return StepSettings.model_validate(self.model_dump(include=set(StepSettings.model_fields)))


class TaskLinks(BaseModel):
    """Where to go from here."""

    self: str = Field(description="This task.")
    events: str = Field(description="Its events, as a stream or by the page.")
    version: str | None = Field(description="The version it made; null before that.")


class TaskSummary(BaseModel):
    """A task as it is now, in short."""

    id: str = Field(description="Its id, a UUID.")
    kind: TaskKind = Field(
        description="`step`: it learns from labelled pictures; `import`: it makes a version of a "
        "checkpoint that was trained elsewhere; `retire`: it makes a version without some classes."
    )
    name: str = Field(description="What people call it.")
    model: str = Field(description="The model that learns.")
    state: TaskStateJson = Field(
        description="`queued`, then `running`; ends `succeeded` (it made a version), `failed` or "
        "`cancelled`. A task whose worker was lost is `queued` again and goes on from its last "
        "checkpoint."
    )
    phase: TaskPhase | None = Field(
        description="What it is doing: `validating`, `training`, then `evaluating`; null unless "
        "it is `running`."
    )
    outcome: TaskOutcome | None = Field(
        description="`live`: its version went live; `held`: the gate said no. What was decided "
        "when it ended, not what is live today; null unless it `succeeded`."
    )
    method: str | None = Field(
        description="How the step fights forgetting; null: an import or a retirement."
    )
    classes: list[str] | None = Field(
        description="Classes to learn, or of a retirement to take away, as posted; null: all that "
        "the model does not know, or all of an imported checkpoint."
    )
    submitted_by: ActorJson = Field(description="Who posted it.")
    created_at: datetime = Field(description="When it was posted.")
    started_at: datetime | None = Field(description="When a worker first took it.")
    finished_at: datetime | None = Field(description="When it ended.")
    queue_place: int | None = Field(
        description="1 is the next task of its model to start: tasks of one model run one after "
        "another. Only those are counted; whose model comes first goes by turns. Null unless it is "
        "`queued`."
    )
    waiting_for: str | None = Field(
        description="Which worker is missing, as `no worker with a GPU is alive`, for it or for "
        "the first task of its model; null: none is."
    )
    version: int | None = Field(description="Number of the version it made.")


class ListedTask(TaskSummary):
    """A task as it is now, in a list."""

    tries: int = Field(
        description="Times it was started since it last got further: 1 while the first start "
        "works, 0 once an epoch is finished. Too many starts that finish no epoch make it fail."
    )
    cancel_requested: bool = Field(description="Whether somebody asked to cancel it.")
    cancelled_by: ActorJson | None = Field(
        description="Who asked to cancel it first; null: nobody, or unknown."
    )
    progress: ProgressJson | None = Field(
        description="How far it is; null until it reports, and once it has ended: its epochs are "
        "among its events."
    )
    warnings: list[str] = Field(description="What the user should know though the task goes on.")
    error: ProblemJson | None = Field(description="Why it failed; null unless it is `failed`.")
    preview: str | None = Field(
        description="Id of the task that makes its preview; null: its spec asks for none."
    )
    preview_of: str | None = Field(
        description="Id of the task that this one is the preview of; null: it is none."
    )
    spec: Annotated[JsonObject, ShownAs(TaskSpec | ImportSpec | RetireSpec)] = Field(
        description="The spec as posted, defaults filled in: of a step, an import or a retirement, "
        "as `kind` says. What an older version of the service took stands as it is."
    )
    links: TaskLinks = Field(description="Where to look next.")

    def summary(self) -> TaskSummary:
        """Return the same in short."""
        return TaskSummary(**{name: getattr(self, name) for name in TaskSummary.model_fields})


class TaskJson(ListedTask):
    """A task as it is now."""

    labels: LabelReport | None = Field(
        description="What its labels look like and what is suspect about them; null until every "
        "picture was read, of an import, and once the task's events were deleted."
    )


class TaskPage(Page[ListedTask | TaskSummary]):
    """Some tasks, the newest first; summaries where `view` says so."""
