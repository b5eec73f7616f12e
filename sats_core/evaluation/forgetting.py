"""Why a version forgot, after Kalb and Beyerer (Causes of Catastrophic Forgetting in
Class-Incremental Semantic Segmentation, ACCV 2022)."""

from collections.abc import Mapping

from pydantic import Field

from sats_core.record import Record

MeasuredShare = float | None


class LostPixels(Record):
    """Pixels of old classes that the version before had right and this one has wrong."""

    share: MeasuredShare = Field(
        description="Of the old-class pixels that were right; null where none was."
    )
    to_background: MeasuredShare = Field(description="Share of the lost pixels: background now.")
    to_new: MeasuredShare = Field(description="Share of the lost pixels: a new class now.")
    to_old: MeasuredShare = Field(description="Share of the lost pixels: another old class now.")


class FalsePositives(Record):
    """Where new classes are seen and are not."""

    on_old: MeasuredShare = Field(description="Share of old-class pixels called a new class.")
    on_background: MeasuredShare = Field(
        description="Share of background pixels called a new class, in pictures labelled for it."
    )


class Regained(Record):
    """mIoU of old classes on their own pixels, as outputs are masked one kind after the other.

    What does not come back is lost in the features.
    """

    as_is: float | None = Field(description="Nothing masked.")
    new_masked: float | None = Field(description="The new classes' outputs masked.")
    background_masked: float | None = Field(
        description="The background's output masked too: old classes against each other."
    )
    parent_background_masked: float | None = Field(
        description="The same of the version before: what is missing to it is lost representation."
    )


class StageAlignment(Record):
    """Linear CKA of one backbone stage with the version before, by what pixels show; 1: same."""

    old: float | None = Field(description="On pixels of old classes.")
    background: float | None = Field(description="On background pixels.")
    new: float | None = Field(description="On pixels of new classes.")


class ForgettingReport(Record):
    """Why a version forgot; null where the held-out pictures cannot tell."""

    forgetting: dict[str, float] = Field(
        description="IoU of each old class when it was introduced, less its IoU now."
    )
    lost: LostPixels = Field(description="Where lost pixels of old classes went.")
    false_positives: FalsePositives = Field(description="New classes seen where they are not.")
    norm_ratio: float | None = Field(
        description="Mean length of the classifier's new rows over that of its old rows."
    )
    regained: Regained = Field(description="What masking outputs brings back.")
    alignment: list[StageAlignment] = Field(
        description="How far each backbone stage still is what it was, first stage first."
    )
    background_shift: MeasuredShare = Field(
        description="Share of the step's background pixels that the version before calls an old "
        "class with a score of at least 0.7."
    )
    pictures: int = Field(description="Held-out pictures that were looked at.")
    readings: dict[str, str] = Field(description="Each figure in plain words.")


def readings(figures: Mapping[str, object]) -> dict[str, str]:
    """Return one line for each figure of a report.

    Args:
        figures: the report's fields but `readings` and `pictures`.
    """
    report = ForgettingReport.model_validate({**figures, "pictures": 0, "readings": {}})
    return {
        "forgetting": _forgetting(report.forgetting),
        "lost": _lost(report.lost),
        "false_positives": _false_positives(report.false_positives),
        "norm_ratio": _norm_ratio(report.norm_ratio),
        "regained": _regained(report.regained),
        "alignment": _alignment(report.alignment),
        "background_shift": _shift(report.background_shift),
    }


NOT_MEASURED = "Not measured: no held-out picture can tell."


def _forgetting(by_class: Mapping[str, float]) -> str:
    if not by_class:
        return NOT_MEASURED
    worst = max(by_class, key=lambda name: by_class[name])
    if by_class[worst] <= 0:
        return "No old class lost IoU since it was learned."
    return f"{worst} lost most: {by_class[worst]:.3f} IoU since it was learned."


def _lost(lost: LostPixels) -> str:
    if lost.share is None:
        return NOT_MEASURED
    if not lost.share or lost.to_new is None or lost.to_old is None:
        return "No old-class pixel that was right is wrong now."
    start = f"{lost.share:.1%} of the old-class pixels that were right are wrong now"
    most = max((lost.to_background or 0, "background"), (lost.to_new, "new"), (lost.to_old, "old"))
    cause = {
        "background": "most went to background: the step's background labels hide old classes",
        "new": "most went to new classes: the new classes take over what looks like them",
        "old": "most went to other old classes: the old classes have moved towards each other",
    }[most[1]]
    return f"{start}; {cause}."


def _false_positives(rates: FalsePositives) -> str:
    if rates.on_old is None and rates.on_background is None:
        return NOT_MEASURED
    worst = max(rates.on_old or 0, rates.on_background or 0)
    if worst < 0.01:
        return "New classes are hardly ever seen where they are not."
    where = "old classes" if worst == rates.on_old else "background"
    return f"New classes are seen on {worst:.1%} of the pixels of {where}."


def _norm_ratio(ratio: float | None) -> str:
    if ratio is None:
        return NOT_MEASURED
    if ratio > 1.25:
        return (
            f"New classes' weights are {ratio:.2f} times as long: they are predicted over old ones."
        )
    if ratio < 0.8:
        return (
            f"New classes' weights are {ratio:.2f} times as long: old ones are predicted over them."
        )
    return f"New classes' weights are {ratio:.2f} times as long: balanced."


def _regained(regained: Regained) -> str:
    whole, without_new = regained.as_is, regained.new_masked
    now, before = regained.background_masked, regained.parent_background_masked
    if whole is None or without_new is None or now is None or before is None:
        return NOT_MEASURED
    gap = before - now
    rest = (
        f"telling old classes apart lost {gap:.3f}: the features themselves forgot"
        if gap > 0.02
        else "old classes are still told apart: the features did not forget"
    )
    return (
        f"On old-class pixels mIoU is {whole:.3f}, {without_new:.3f} without the new classes, "
        f"{now:.3f} without the background too; {rest}."
    )


def _alignment(stages: list[StageAlignment]) -> str:
    known = [(stage.old, number) for number, stage in enumerate(stages, 1) if stage.old is not None]
    if not known:
        return NOT_MEASURED
    least, number = min(known)
    if least > 0.9:
        return f"On old classes every stage is nearly what it was (least {least:.2f})."
    return f"On old classes stage {number} changed most (CKA {least:.2f}, 1 is unchanged)."


def _shift(share: MeasuredShare) -> str:
    if share is None:
        return "Not measured: the step has no background pixels."
    if share < 0.01:
        return "The step's background hides hardly any old class."
    return (
        f"{share:.1%} of the step's background is an old class that is not labelled: a method "
        "without pseudo-labels or distillation unlearns it."
    )
