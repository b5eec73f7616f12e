"""What two versions have in common, and what not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.admin.schemas import VersionJson
from app.web.ran_with import ran_with
from app.web.rendering import duration

Pair = tuple[str, str]


@dataclass(frozen=True)
class ClassPair:
    """A class in two versions.

    Attributes:
        name: of the class.
        colours: `#rrggbb` in the first and in the second version; None where it is not known.
        before: IoU in the first version; None: not known there, or not measured.
        after: the same in the second.
    """

    name: str
    colours: tuple[str | None, str | None]
    before: float | None
    after: float | None

    @property
    def only(self) -> str | None:
        """Which version alone knows it; None: both do."""
        first, second = self.colours
        return None if first and second else "first" if first else "second"

    @property
    def change(self) -> float | None:
        """IoU in the second version less that in the first; None where nobody can say."""
        if self.before is None or self.after is None:
            return None
        return self.after - self.before


@dataclass(frozen=True)
class Mean:
    """A mean IoU of two versions.

    Attributes:
        name: over which classes.
        first: in the first version; None: nothing was measured.
        second: in the second.
    """

    name: str
    first: float | None
    second: float | None


@dataclass(frozen=True)
class Comparison:
    """Two versions side by side.

    Attributes:
        classes: those of both with the largest loss first, then those of one.
        means: mIoU; over the classes that both know, then over all of each.
        made: what is told of how each was made: name, first, second.
        settings: the settings that differ: name, first, second; "–" where a version has none.
        alike: how many settings are the same.
    """

    classes: Sequence[ClassPair]
    means: Sequence[Mean]
    made: Sequence[tuple[str, Pair]]
    settings: Sequence[tuple[str, Pair]]
    alike: int


def compare(first: VersionJson, second: VersionJson) -> Comparison:
    """Put two versions side by side."""
    classes = _classes(first, second)
    ran = [ran_with(version.effective_settings) for version in (first, second)]
    names = [name for name in ran[0] | ran[1] if name != "method"]
    told = [(name, (_said(ran[0], name), _said(ran[1], name))) for name in names]
    made = _made(first), _made(second)
    differing = [one for one in told if one[1][0] != one[1][1]]
    return Comparison(
        classes,
        list(_means(classes, first, second)),
        [(name, (said, made[1][name])) for name, said in made[0].items()],
        differing,
        len(told) - len(differing),
    )


def _classes(first: VersionJson, second: VersionJson) -> list[ClassPair]:
    colours = [{one.name: one.color for one in version.classes} for version in (first, second)]
    names = dict.fromkeys([*colours[0], *colours[1]])
    pairs = [
        ClassPair(
            name,
            (colours[0].get(name), colours[1].get(name)),
            first.scores.iou.get(name),
            second.scores.iou.get(name),
        )
        for name in names
    ]
    return sorted(pairs, key=_place)


def _place(pair: ClassPair) -> tuple[int, float]:
    where = (None, "first", "second").index(pair.only)
    return where, float("inf") if pair.change is None else pair.change


def _means(classes: Sequence[ClassPair], first: VersionJson, second: VersionJson) -> Iterator[Mean]:
    measured = [
        (one.before, one.after)
        for one in classes
        if one.before is not None and one.after is not None
    ]
    yield Mean(
        f"the {len(measured)} measured in both",
        sum(one for one, _ in measured) / len(measured) if measured else None,
        sum(other for _, other in measured) / len(measured) if measured else None,
    )
    yield Mean("all of each", first.scores.miou_all, second.scores.miou_all)


def _made(version: VersionJson) -> dict[str, str]:
    untaught = "import, untrained" if version.origin else "classes taken away"
    return {
        "Method": version.method or untaught,
        "Started from": _start(version),
        "Brought": ", ".join(version.new_classes) or "nothing",
        "Backbone's start": version.backbone_start,
        "Replayed pictures": str(version.replayed_pictures),
        "Time": duration(version.seconds),
        "Pictures scored": str(version.scores.pictures),
    }


def _start(version: VersionJson) -> str:
    if version.origin:
        return version.origin.source
    return f"version {version.parent}" if version.parent else "nothing"


def _said(settings: dict[str, Any], name: str) -> str:
    return str(settings.get(name, "–"))
