"""What the gate said of a version, in words and class by class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.admin.schemas import FigureJson, VersionJson


@dataclass(frozen=True)
class Row:
    """A class before and after a step.

    Attributes:
        name: of the class.
        colour: `#rrggbb`.
        kind: known before the step, or brought by it.
        before: IoU in the version before; None: a new class, or not measured.
        after: IoU in this version; None: not measured.
        limit: the least IoU at which the gate lets it pass; None where it did not look.
        passed: whether the gate let it pass; None where it did not look.
    """

    name: str
    colour: str
    kind: Literal["old", "new"]
    before: float | None
    after: float | None
    limit: float | None
    passed: bool | None

    @property
    def fell(self) -> bool:
        """Whether it lost more than the gate allows, or a new class reached too little."""
        return self.passed is False


@dataclass(frozen=True)
class ShownVerdict:
    """A gate's verdict.

    Attributes:
        said: one sentence.
        reasons: what held the version, and what could not be measured.
        waived: limits that an admin's task did without.
        rows: every class but those that the gate never saw.
    """

    said: str
    reasons: Sequence[str]
    waived: Sequence[str]
    rows: Sequence[Row]


def verdict_of(version: VersionJson) -> ShownVerdict | None:
    """Return what the gate said of a version; None of an import, which no gate judges."""
    gate = version.gate
    if gate is None:
        return None
    rows = rows_of(version)
    fell = [row.name for row in rows if row.fell]
    if gate.passed and version.retirement:
        said = "The gate let it pass: what stays did not lose too much."
    elif gate.passed:
        said = "The gate let it pass: no old class lost too much, every new class is good enough."
    elif fell:
        said = f"The gate held it because of {_joined(fell)}."
    else:
        said = "The gate held it."
    return ShownVerdict(said, gate.reasons, gate.waived, rows)


def rows_of(version: VersionJson) -> Sequence[Row]:
    """Return a version's classes as its gate saw them; those that it did not see have no limit."""
    settings = dict(version.gate.settings) if version.gate else {}
    figures = {one.class_name: one for one in version.gate.figures} if version.gate else {}
    return [
        _row(entry.name, entry.color, version, figures.get(entry.name), settings)
        for entry in version.classes
    ]


def _row(
    name: str,
    colour: str,
    version: VersionJson,
    figure: FigureJson | None,
    settings: dict[str, object],
) -> Row:
    after = version.scores.iou.get(name)
    if figure is None:
        kind: Literal["old", "new"] = "new" if name in version.new_classes else "old"
        return Row(name, colour, kind, None, after, None, None)
    limit: float | None = None
    least, most = settings.get("min_iou"), settings.get("max_drop")
    if figure.kind == "new" and isinstance(least, int | float):
        limit = float(least)
    elif figure.before is not None and isinstance(most, int | float):
        limit = max(0.0, figure.before - most)
    return Row(name, colour, figure.kind, figure.before, figure.after, limit, figure.passed)


def _joined(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
