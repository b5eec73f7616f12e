"""What an operator asks of a model's versions at least, and what a task may ask beside it."""

import json
from typing import Annotated

from pydantic import Field

from app.db import Model
from app.errors import ErrorDetail, InvalidProblem
from app.errors.codes import Code
from app.records.stored import read_stored
from app.registry.gate import AWAITS_APPROVAL, Approval, GateSettings, Verdict
from app.settings import Settings
from sats_core.record import Record

_MOST_DROP = (
    "Most IoU that any old class, the background among them, may lose against the version before "
    "the step or the live one, and most that the new classes' mean may lie below that of a preview "
    "that is live"
)
_LEAST_IOU = "Least IoU that every new class must have"
UNMEASURED = (
    "Whether an old class, the background among them, that no held-out picture shows holds the "
    "version"
)

Limit = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
"""A limit of an IoU. Strict: `true` is no limit of 1."""


class GateWish(Record):
    """What a task asks of its version to go live; otherwise it is held for an admin to promote.

    Only an admin's task may ask less than its model's floor.
    """

    max_drop: Limit | None = Field(
        None, description=f"{_MOST_DROP}; null: as the model's floor says."
    )
    min_iou: Limit | None = Field(
        None, description=f"{_LEAST_IOU}; null: as the model's floor says."
    )
    hold_on_unmeasured: bool | None = Field(
        None, strict=True, description=f"{UNMEASURED}; null: as the model's floor says."
    )
    promote: bool = Field(
        True, description="Go live when the gate passes; false holds the version in any case."
    )


class ModelGate(Record):
    """A model's own limits; null leaves one to the service's settings."""

    max_drop: Limit | None = Field(None, description=f"{_MOST_DROP}; null: SATS_GATE_MAX_DROP.")
    min_iou: Limit | None = Field(None, description=f"{_LEAST_IOU}; null: SATS_GATE_MIN_IOU.")
    approval: Approval | None = Field(
        None,
        description="`required` holds every version that passes, imports too, until an admin "
        "promotes it; null: SATS_GATE_APPROVAL.",
    )
    hold_on_warnings: bool | None = Field(
        None,
        strict=True,
        description="Whether a serious warning about a task's labels holds its version; null: "
        "SATS_GATE_HOLD_ON_WARNINGS.",
    )
    hold_on_unmeasured: bool | None = Field(
        None,
        strict=True,
        description=f"{UNMEASURED}; set it once the last old worker is gone; null: "
        "SATS_GATE_HOLD_ON_UNMEASURED.",
    )


class GateFloor(Record):
    """The limits that hold for a model; a task may be stricter, and an admin's laxer.

    Attributes:
        max_drop: most IoU that an old class may lose.
        min_iou: least IoU of every new class.
        approval: whether an admin must promote what passes.
        hold_on_warnings: whether suspect labels hold a version.
        hold_on_unmeasured: whether an old class that nobody could measure does.
    """

    max_drop: float
    min_iou: float
    approval: Approval
    hold_on_warnings: bool = False
    hold_on_unmeasured: bool = False

    def laxer(self, wish: GateWish) -> dict[str, float | bool]:
        """Return the limits that a task wants laxer, as the floor has them."""
        found: dict[str, float | bool] = {}
        if wish.max_drop is not None and wish.max_drop > self.max_drop:
            found["max_drop"] = self.max_drop
        if wish.min_iou is not None and wish.min_iou < self.min_iou:
            found["min_iou"] = self.min_iou
        if wish.hold_on_unmeasured is False and self.hold_on_unmeasured:
            found["hold_on_unmeasured"] = True
        return found

    def waived(self, wish: GateWish) -> list[str]:
        """Return a sentence for every limit that a task wants laxer."""
        return [
            f"{name} {_said(getattr(wish, name))} is laxer than the model's floor, {_said(limit)}"
            for name, limit in self.laxer(wish).items()
        ]

    def settings(self, wish: GateWish, *, by_admin: bool) -> GateSettings:
        """Return the limits for a task's version: the stricter ones, or as an admin's task asks."""
        asked = wish.model_dump(exclude_none=True)
        if not by_admin:  # the floor may have been raised since the task was posted
            asked |= self.laxer(wish)
        return GateSettings.model_validate(self.model_dump() | asked)


def _said(limit: float | bool) -> str:
    """Return a limit as JSON has it."""
    return json.dumps(limit) if isinstance(limit, bool) else f"{limit:g}"


def floor_of(model: Model | None, settings: Settings) -> GateFloor:
    """Return a model's floor; of one that is not known yet, the service's."""
    own = own_gate(model)
    return GateFloor(
        max_drop=settings.gate_max_drop if own.max_drop is None else own.max_drop,
        min_iou=settings.gate_min_iou if own.min_iou is None else own.min_iou,
        approval=own.approval or settings.gate_approval,
        hold_on_warnings=(
            settings.gate_hold_on_warnings if own.hold_on_warnings is None else own.hold_on_warnings
        ),
        hold_on_unmeasured=(
            settings.gate_hold_on_unmeasured
            if own.hold_on_unmeasured is None
            else own.hold_on_unmeasured
        ),
    )


def own_gate(model: Model | None) -> ModelGate:
    """Return what a model has of its own."""
    return read_stored(ModelGate, model.gate) if model and model.gate else ModelGate()


def check_gate(wish: GateWish, floor: GateFloor, model_name: str) -> None:
    """Check that a task asks no less than the floor.

    Raises:
        InvalidProblem: naming every limit that is laxer, and the floor.
    """
    errors = [
        ErrorDetail(
            f"{_said(getattr(wish, name))} is laxer than the floor of model {model_name!r}, "
            f"{_said(limit)}; only a key with scope `admin` may ask for it",
            field=f"spec.gate.{name}",
            code=Code.FORBIDDEN,
        )
        for name, limit in floor.laxer(wish).items()
    ]
    if errors:
        raise InvalidProblem("the task's gate is laxer than the model's floor", errors)


def judge_import(floor: GateFloor) -> Verdict | None:
    """Return what holds an import that was to go live; None: no gate judges it.

    Its scores are not judged: there is no version before it, and an admin asked for it.
    """
    if floor.approval != "required":
        return None
    settings = floor.settings(GateWish(), by_admin=False)
    return Verdict(passed=False, reasons=(AWAITS_APPROVAL,), figures=(), settings=settings)
