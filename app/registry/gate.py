"""The gate: whether a new version may go live by itself. A pure function of scores."""

from collections.abc import Collection, Sequence
from typing import Literal

from pydantic import Field

from sats_core.evaluation.scores import Scores
from sats_core.record import Record

UNGUARDED = (
    "no old class is guarded: the version before was never scored, so nobody can say what it lost"
)
"""What the gate says where nothing can be compared; it holds by `hold_on_unmeasured` alone."""

AWAITS_APPROVAL = "awaits approval"
"""What holds a version that passed where an admin has the last word."""

_BACKGROUND_UNMEASURED = (
    "the background is not measured: no held-out picture of earlier tasks shows it"
)

Approval = Literal["none", "required"]

_ROUNDING = 1e-9
"""0.90 - 0.85 is a little over 0.05 in floating point; a drop of exactly the limit passes."""


class GateSettings(Record):
    """The limits that were applied to a version."""

    max_drop: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Most IoU that any old class, the background among them, may lose against the "
        "version before the step or the live one, and most that the new classes' mean may lie "
        "below that of a preview that is live.",
    )
    min_iou: float = Field(0.3, ge=0, le=1, description="Least IoU that every new class must have.")
    promote: bool = Field(
        True, description="Go live when the gate passes; false holds the version in any case."
    )
    approval: Approval = Field(
        "none", description="`required`: a version that passes is held until an admin promotes it."
    )
    hold_on_warnings: bool = Field(
        False, description="Whether a serious warning about the task's labels holds its version."
    )
    hold_on_unmeasured: bool = Field(
        False,
        description="Whether an old class, the background among them, that no held-out picture "
        "shows holds the version.",
    )


class Figure(Record):
    """What the gate saw of one class.

    Attributes:
        class_name: the class.
        kind: known before the step or to the live version, or brought by the step. The background
            is an old class.
        before: IoU in the version before the step, or in the live one where that is higher, 0..1;
            None for a new class or if unmeasured.
        after: IoU in the new version, 0..1; None if no held-out picture shows the class.
        passed: whether this class lets the version go live.
    """

    class_name: str
    kind: Literal["old", "new"]
    before: float | None
    after: float | None
    passed: bool


class Verdict(Record):
    """What the gate decided.

    Attributes:
        passed: whether the version goes live.
        reasons: one sentence for everything that holds the version, and for every old class that
            could not be measured (which is said, and holds it by `hold_on_unmeasured` alone); one
            for all old classes together where the version before was never scored.
        figures: every class that was looked at, old ones first.
        settings: the limits that were applied.
        waived: one sentence for every limit of the model's floor that the task, an admin's, was
            laxer than.
    """

    passed: bool
    reasons: tuple[str, ...]
    figures: tuple[Figure, ...]
    settings: GateSettings
    waived: tuple[str, ...] = ()


def judge(
    gate: GateSettings,
    scores: Scores,
    parent: Scores | None,
    new_classes: Sequence[str],
    live_moved: bool,
    live_classes: Collection[str] = (),
    live: Scores | None = None,
    preview: Scores | None = None,
    waived: Sequence[str] = (),
    warnings: Sequence[str] = (),
    holds_too: Sequence[str] = (),
) -> Verdict:
    """Decide whether a version goes live.

    Args:
        gate: the limits.
        scores: the new version's scores, background first.
        parent: scores of the version the step started from; None for a base step.
        new_classes: foreground classes that the step brought; all others are old, and so
            are those that `live` has a figure for.
        live_moved: whether `live` moved while the step ran. Then the scores compare the new
            version with something that is no longer served, and it is held.
        live_classes: all classes of the version that is live now; a version that lacks one of
            them is held, whatever it started from.
        live: scores of the version that would be replaced, its own preview left aside; None: there
            is none. A step from an earlier version must not take its place with less.
        preview: scores of the version that is live now, where it is the step's own preview.
            Nothing much worse at the new classes replaces it.
        waived: one sentence for every limit that an admin's task waives, for the record.
        warnings: serious ones about the step's labels.
        holds_too: one sentence for whatever else holds it.
    """
    before = parent.iou if parent else {}
    background, *foreground = scores.iou
    served = {name: live.iou.get(name) for name in foreground} if live else {}
    brought = [name for name in new_classes if served.get(name) is None]
    old_classes = [name for name in foreground if name not in brought]
    unguarded = bool(old_classes) and all(
        iou is None for iou in (*before.values(), *served.values())
    )
    old = [
        _judge_old(name, before.get(name), scores.iou.get(name), gate, served.get(name))
        for name in old_classes
    ]
    if old_classes:
        old = _judge_background(background, before.get(background), scores, gate) + old
    if unguarded:  # said once
        old = [(figure, None) for figure, _ in old]
    new = [_judge_new(name, scores.iou.get(name), gate) for name in brought]
    judged = old + new
    holds = [*holds_too]
    if live_moved:
        holds.append("the live version changed while the step ran")
    lacking = [name for name in live_classes if name not in scores.iou]
    if lacking:
        names = ", ".join(map(repr, lacking))
        holds.append(f"the live version knows {names} and this one does not")
    if preview is not None:
        holds.extend(_judge_against_preview(scores, preview, new_classes, gate))
    if gate.hold_on_warnings:
        holds.extend(warnings)
    if not gate.promote:
        holds.append("the task asked not to go live")
    passed = not holds and all(figure.passed for figure, _ in judged)
    if passed and gate.approval == "required":
        passed = False
        holds.append(AWAITS_APPROVAL)
    return Verdict(
        passed=passed,
        reasons=(
            *holds,
            *([UNGUARDED] if unguarded else []),
            *(reason for _, reason in judged if reason),
        ),
        figures=tuple(figure for figure, _ in judged),
        settings=gate,
        waived=tuple(waived),
    )


def _judge_against_preview(
    scores: Scores, preview: Scores, new_classes: Sequence[str], gate: GateSettings
) -> list[str]:
    """Return why the new classes are too much worse than in the preview, or nothing.

    Both were scored on the same held-out pictures.
    """
    measured = [
        (before, after)
        for name in new_classes
        if (before := preview.iou.get(name)) is not None
        and (after := scores.iou.get(name)) is not None
    ]
    if not measured:
        return []
    was, now = (sum(ious) / len(ious) for ious in zip(*measured, strict=True))
    if was - now <= gate.max_drop + _ROUNDING:
        return []
    return [
        f"its preview is live and better: the new classes' mIoU is {was:.3f} there and {now:.3f} "
        f"here, lower by more than {gate.max_drop:g}"
    ]


def _judge_background(
    name: str, before: float | None, scores: Scores, gate: GateSettings
) -> list[tuple[Figure, str | None]]:
    """Judge the background as an old class; nothing where it is not measured and may be so.

    On the pictures of earlier tasks alone: the step's own show another background than those that
    the version before was scored on.
    """
    after = scores.earlier_background
    if before is None or after is None:
        if not gate.hold_on_unmeasured:
            return []
        figure = Figure(class_name=name, kind="old", before=before, after=after, passed=False)
        return [(figure, _BACKGROUND_UNMEASURED)]
    figure, reason = _judge_old(name, before, after, gate)
    if reason:
        reason = (
            f"the background lost {before - after:.3f} IoU on the pictures of earlier tasks "
            f"({before:.3f} to {after:.3f}), more than {gate.max_drop:g}: old classes run into it, "
            "or it into them"
        )
    return [(figure, reason)]


def _judge_old(
    name: str,
    before: float | None,
    after: float | None,
    gate: GateSettings,
    served: float | None = None,
) -> tuple[Figure, str | None]:
    """Judge an old class against the version before, or the live one where that is better."""
    against = ""
    if served is not None and (before is None or served > before):
        before, against = served, " against the live version"
    if before is None or after is None:
        passed = not gate.hold_on_unmeasured
        figure = Figure(class_name=name, kind="old", before=before, after=after, passed=passed)
        return figure, f"old class {name!r} is not measured: no held-out picture shows it"
    passed = before - after <= gate.max_drop + _ROUNDING
    figure = Figure(class_name=name, kind="old", before=before, after=after, passed=passed)
    if passed:
        return figure, None
    return figure, (
        f"old class {name!r} lost {before - after:.3f} IoU{against} "
        f"({before:.3f} to {after:.3f}), more than {gate.max_drop:g}"
    )


def _judge_new(name: str, after: float | None, gate: GateSettings) -> tuple[Figure, str | None]:
    passed = after is not None and after >= gate.min_iou - _ROUNDING
    figure = Figure(class_name=name, kind="new", before=None, after=after, passed=passed)
    if after is None:
        return figure, f"new class {name!r} is not measured: no held-out picture shows it"
    if passed:
        return figure, None
    return figure, f"new class {name!r} reached {after:.3f} IoU, less than {gate.min_iou:g}"
