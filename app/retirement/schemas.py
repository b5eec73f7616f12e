"""What goes into a retirement, and how its record looks."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.db import Erasure, TaskKind
from app.records.posted import PostedNumbers
from app.registry.floor import UNMEASURED, GateWish, Limit
from app.registry.schemas import MAX_NUMBER, MODEL_PATTERN, Named, PostedName
from app.retirement.records import Depth, Receipt
from app.tasks.placement import Placement
from sats_core.classes import MAX_CLASSES
from sats_core.record import Record
from sats_core.settings import StepSettings

RETIRE_EXAMPLE: dict[str, Any] = {"classes": ["sheep"], "depth": "hide"}
UNLEARN_EXAMPLE: dict[str, Any] = {
    "classes": ["sheep"],
    "depth": "forget",
    "epochs": 60,
    "gate": {"max_miou_drop": 0.02},
}

MOST_LOST = 0.02
"""mIoU of what stays that a retirement may cost, where nobody says otherwise."""

_DEPTHS = (
    "How far it goes. `hide`: the classes' rows go and what they were is background; the features "
    "stay as they are, so that a few pictures teach them again. `unlearn`: the features are "
    "trained away from the classes too. `forget`: as `unlearn`, and once the version is live the "
    "kept pictures that are labelled with a class are deleted, with a signed receipt"
)


class RetireGate(Record):
    """What the version must not lose to go live by itself; the retired classes do not count."""

    max_miou_drop: Limit = Field(
        MOST_LOST,
        description="Most mIoU that the background and the classes that stay may lose together.",
    )
    max_drop: Limit | None = Field(
        None,
        description="Most IoU that any class that stays may lose; null: as the model's floor says.",
    )
    promote: bool = Field(
        True, description="Go live when the gate passes; false holds the version in any case."
    )
    hold_on_unmeasured: bool | None = Field(
        None, strict=True, description=f"{UNMEASURED}; null: as the model's floor says."
    )

    def of_step(self) -> GateWish:
        """Return the part that the gate of steps reads."""
        return GateWish(
            max_drop=self.max_drop,
            hold_on_unmeasured=self.hold_on_unmeasured,
            promote=self.promote,
        )


class Training(Record):
    """How `unlearn` and `forget` train; `hide` reads the seed alone."""

    epochs: int = Field(
        60,
        ge=1,
        le=1000,
        description="Passes over the pictures at hand; from 40 on the head is taught anew.",
    )
    batch_size: int = Field(
        StepSettings.model_fields["batch_size"].default,
        ge=2,
        le=512,
        description="Pictures per optimiser step; 2 and 3 run as 4.",
    )
    accumulate: int | None = Field(
        None,
        ge=1,
        le=512,
        description="Read by no retirement, which computes a batch as a whole: what does not fit "
        "takes a smaller `batch_size`. Its place is kept for who says it already.",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="Peak rate; by default that of a base step, as features must move.",
    )
    seed: int = Field(
        0, ge=0, le=MAX_NUMBER, description="Seed of everything that is drawn by chance."
    )

    def step_settings(self, depth: Depth, memory: int) -> StepSettings:
        """Return what the learning core reads.

        Args:
            depth: how far it goes.
            memory: most pictures that the version keeps for replay.
        """
        said = self.model_dump(include=set(Training.model_fields))
        method = "frozen" if depth == Depth.HIDE else "sats_plus"
        return StepSettings.model_validate({**said, "method": method, "memory": memory})


class RetireChoices(Placement, Training):
    """Which classes go, and how far."""

    classes: list[Named] = Field(
        min_length=1,
        max_length=MAX_CLASSES,
        description="Names of the classes to take away; one must stay, besides the background.",
    )
    depth: Depth = Field(description=f"{_DEPTHS}.")
    gate: RetireGate = Field(
        default_factory=RetireGate, description="What the version must not lose to go live."
    )

    @field_validator("classes")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("a class is named twice")
        return names


class RetireWish(PostedNumbers, RetireChoices):
    """Which classes to take away, and how far; only `classes` and `depth` are needed."""

    model_config = ConfigDict(json_schema_extra={"examples": [RETIRE_EXAMPLE, UNLEARN_EXAMPLE]})

    name: PostedName | None = Field(
        None, description="What people call the task; null: after the classes."
    )

    def spec(self, model: str, number: int) -> "RetireSpec":
        """Return the retirement from a version, as it is stored."""
        called = self.name or f"retire {', '.join(self.classes)}"[:200]
        posted = self.model_dump(exclude_unset=True)
        said = posted | {"name": called, "model": model, "parent": number}
        return RetireSpec.model_validate(said)


class RetireSpec(RetireChoices):
    """A retirement as it was asked for and is stored."""

    kind: ClassVar[TaskKind] = TaskKind.RETIRE

    name: Named = Field(description="What people call the task.")
    model: str = Field(pattern=MODEL_PATTERN, description="The model.")
    parent: int = Field(
        ge=1, le=MAX_NUMBER, description="Number of the version that the classes are taken from."
    )


class PiggybackJson(BaseModel):
    """How well fresh rows find the retired classes again on frozen features.

    Mean IoU of these classes. Each row is taught on the same few pictures and scored on the same
    others.
    """

    before: float = Field(description="On the features of the version that they were taken from.")
    after: float = Field(description="On the features of this version.")
    unaware: float | None = Field(
        description="On those of a version that never saw the classes; null: there is none."
    )
    gap_closed: float | None = Field(
        description="(before - after) / (before - unaware): 0 is no better than before, 1 is as if "
        "the classes had never been seen; null without `unaware`, or where there is no gap."
    )
    pictures: int = Field(description="Pictures that the rows were taught on.")
    scored_pictures: int = Field(description="Pictures that they were scored on.")


class MembershipJson(BaseModel):
    """How well a threshold on the loss tells pictures that were trained on from others.

    Area under the curve: 0.5 is a guess.
    """

    before: float = Field(description="Of the version that the classes were taken from.")
    after: float = Field(description="Of this version.")
    members: int = Field(description="Pictures that were trained on.")
    others: int = Field(description="Pictures that were not.")


class ProofJson(BaseModel):
    """What was measured of a retirement, on the pictures at hand; no guarantee."""

    pictures: Literal["posted", "kept", "noise", "none"] = Field(
        description="What the training saw of the classes: pictures that were `posted` or `kept`, "
        "made-up ones (`noise`: weaker); `none`: it saw nothing of them, as `hide` never does."
    )
    miou_before: float | None = Field(
        description="mIoU of what stays, the background among it, in the version before; null: no "
        "held-out picture is there."
    )
    miou_after: float | None = Field(description="The same in this version.")
    to_background: float | None = Field(
        description="Share of the pixels which the version before took for a retired class that "
        "are background now; the rest went to other classes. Null: no picture was at hand."
    )
    piggyback: PiggybackJson | None = Field(
        description="How well the classes are found again; null: too few pictures show them."
    )
    membership: MembershipJson | None = Field(
        description="Whether pictures can be told to have been trained on; null: not measured."
    )


class RetirementJson(BaseModel):
    """What was taken away from a version, and what was measured of it."""

    retired: list[str] = Field(
        description="Names of the classes; their indices are never given again.",
        examples=[["sheep"]],
    )
    indices: list[int] = Field(description="The mask value that each had.", examples=[[5]])
    depth: Depth = Field(description="How far it went.", examples=["hide"])
    proof: ProofJson = Field(description="What was measured; no guarantee.")
    erasure: Erasure | None = Field(
        description="Of depth `forget`: the pictures' deletion `waits` until the version is live "
        "and no task of the model runs, has `begun`, or is `done`; null: none was asked for."
    )
    waits_for: str | None = Field(
        None,
        description="What the deletion waits for, or its end where it has begun, and what to do "
        "about it: it may be for ever. Null: it is done, or none was asked for.",
    )
    receipt: Receipt | None = Field(
        description="What was deleted, signed by the service; null: nothing was so far. "
        "`sats audit receipt` checks it."
    )
