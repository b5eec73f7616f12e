"""Whether a version from which classes were taken may go live: what stays must not suffer."""

from collections.abc import Collection

from app.registry.gate import GateSettings, Verdict, judge
from app.retirement.records import Retirement
from app.retirement.schemas import RetireGate
from sats_core.evaluation.scores import Scores

_ROUNDING = 1e-9


def judge_retirement(
    gate: RetireGate,
    limits: GateSettings,
    retirement: Retirement,
    scores: Scores,
    parent: Scores,
    live: Scores | None,
    live_classes: Collection[str],
    *,
    live_moved: bool,
    waived: Collection[str] = (),
    holds_too: Collection[str] = (),
) -> Verdict:
    """Decide as of a step without new classes, and by the mIoU of what stays.

    Args:
        gate: what the task asked for.
        limits: the same for each class, with the model's floor.
        retirement: what went, and what was measured.
        scores: the new version's.
        parent: those of the version that the classes were taken from.
        live: those of the version that would be replaced; None: there is none.
        live_classes: classes of the version that is live now, but those that were taken away; one
            that the new version lacks holds it.
        live_moved: whether `live` moved while the task ran.
        waived: one sentence for every limit of the floor that the task waives.
        holds_too: one sentence for everything else that holds it.
    """
    gone = set(retirement.retired)
    verdict = judge(
        limits,
        without(scores, gone),
        parent,
        (),
        live_moved=live_moved,
        live_classes=live_classes,
        live=without(live, gone) if live else None,
        waived=tuple(waived),
        holds_too=tuple(holds_too),
    )
    said = _lost(gate, retirement)
    if said is None:
        return verdict
    # What awaits approval alone is held for this now.
    return verdict.model_copy(update={"passed": False, "reasons": (said, *verdict.reasons)})


def without(scores: Scores, names: Collection[str]) -> Scores:
    """Return scores of what stays: retired classes do not count."""
    iou = {name: value for name, value in scores.iou.items() if name not in names}
    return scores.model_copy(update={"iou": iou})


def _lost(gate: RetireGate, retirement: Retirement) -> str | None:
    before, after = retirement.proof.miou_before, retirement.proof.miou_after
    if before is None or after is None or before - after <= gate.max_miou_drop + _ROUNDING:
        return None
    return (
        f"what stays lost {before - after:.3f} mIoU ({before:.3f} to {after:.3f}), more than "
        f"{gate.max_miou_drop:g}"
    )
