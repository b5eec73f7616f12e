"""A company's year: who posts which task when, and how requests swing with the day."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from benchmarks.simulated_inputs import Assumptions, Measured, Rules

DAY = 86_400.0
WORK_BEGINS, WORK_ENDS = 9 * 3600.0, 17 * 3600.0
LAST_HALF_HOUR = 1800.0
BUSIEST_HOUR = 15
DAYS_A_WEEK, WORKING_DAYS = 7, 5


class Kind(StrEnum):
    """What a task asks for."""

    FROZEN = "frozen"
    SATS = "sats"
    BASE = "base"


@dataclass(frozen=True)
class Post:
    """A task as it is posted; seconds.

    Attributes:
        at: since the year began, a Monday, 00:00.
        owner: the annotator whose key posts it; rebuilds are the number after the last one's.
        model: whose step it is.
        kind: which method.
        pictures: in its upload.
        before: preparing, until the first epoch begins; each try pays it.
        epoch: one pass over the pictures.
        epochs: so many.
        after: scores, export, registering.
        bytes: of a version's weights.
    """

    at: float
    owner: int
    model: int
    kind: Kind
    pictures: int
    before: float
    epoch: float
    epochs: int
    after: float
    bytes: float

    @property
    def work(self) -> float:
        """Seconds that it takes where nothing is lost."""
        return self.before + self.epoch * self.epochs + self.after


def is_large(model: int, assumed: Assumptions) -> bool:
    """Return whether a model has the larger backbone: spread evenly over the models."""
    return math.floor((model + 1) * assumed.large_share) > math.floor(model * assumed.large_share)


def posts(seed: int, days: int, assumed: Assumptions, seen: Measured, rules: Rules) -> list[Post]:
    """Return all tasks of so many days, in their order.

    Annotators post on working days from 9 to 17, a Poisson number each day, some of them at the
    day's end; each posts to models of their own. Rebuilds come at any hour.
    """
    rng = Random(f"posts {seed}")
    models, annotators = int(assumed.models), int(assumed.annotators)
    made = []
    for owner in range(annotators):
        own = range(owner % models, models, annotators) or range(owner % models, models, models)
        for at in _working_times(rng, days, assumed):
            kind = Kind.SATS if rng.random() < assumed.sats_share else Kind.FROZEN
            size = max(
                1, round(rng.lognormvariate(math.log(assumed.pictures), assumed.pictures_spread))
            )
            made.append(_post(at, owner, rng.choice(own), kind, size, assumed, seen, rules))
    for model in range(models):
        for _ in range(_poisson(rng, assumed.rebuilds_a_year * days / 365)):
            at, size = rng.uniform(0, days * DAY), int(assumed.rebuild_pictures)
            made.append(_post(at, annotators, model, Kind.BASE, size, assumed, seen, rules))
    return sorted(made, key=lambda post: (post.at, post.owner, post.model))


def swing(assumed: Assumptions) -> list[float]:
    """Return each hour's requests over the mean: a cosine of the day."""
    hours = (hour - BUSIEST_HOUR for hour in range(24))
    return [1 + assumed.day_swing * math.cos(2 * math.pi * hour / 24) for hour in hours]


def _working_times(rng: Random, days: int, assumed: Assumptions) -> Iterator[float]:
    for day in range(days):
        if day % DAYS_A_WEEK >= WORKING_DAYS:
            continue
        for _ in range(_poisson(rng, assumed.tasks_a_day)):
            late = rng.random() < assumed.at_days_end
            begins = WORK_ENDS - LAST_HALF_HOUR if late else WORK_BEGINS
            yield day * DAY + rng.uniform(begins, WORK_ENDS)


def _post(
    at: float,
    owner: int,
    model: int,
    kind: Kind,
    pictures: int,
    assumed: Assumptions,
    seen: Measured,
    rules: Rules,
) -> Post:
    large = is_large(model, assumed)
    a_picture = {
        Kind.FROZEN: seen.forward_ms,
        Kind.SATS: seen.sats_ms,
        Kind.BASE: seen.finetune_ms,
    }[kind]
    cost = assumed.large_cost if large else 1.0
    # The small task that was measured whole is all beside the epochs, its own pass too: too much
    # rather than too little. Half of it comes before them.
    beside = seen.task_seconds * max(1.0, pictures / seen.task_pictures)
    return Post(
        at=at,
        owner=owner,
        model=model,
        kind=kind,
        pictures=pictures,
        before=beside / 2,
        epoch=pictures * a_picture * cost / 1000 / assumed.gpu_speed,
        epochs=1 if kind == Kind.FROZEN else rules.epochs,
        after=beside / 2,
        bytes=assumed.large_bytes if large else assumed.small_bytes,
    )


def _poisson(rng: Random, mean: float) -> int:
    """Return how many of a Poisson process's events come in a time with this mean."""
    count, at = 0, rng.expovariate(1.0)
    while at < mean:
        count, at = count + 1, at + rng.expovariate(1.0)
    return count
