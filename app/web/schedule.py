"""How a step that is about to be posted would learn, and how long."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.registry.parents import check_start
from app.tasks.schemas import TaskSpec
from app.uploads.pace import seconds_a_picture
from app.workers.needs import Needs


@dataclass(frozen=True)
class Schedule:
    """The settings in force of a step, and its time.

    Attributes:
        base: whether it is a model's base step.
        method: how it fights forgetting; a base step does not.
        epochs: passes over the pictures; None: one, and none of the following three is read.
        batch_size: pictures of a batch.
        optimizer: its name.
        rate: the learning rate that it rises to.
        size: side of a crop, pixels.
        seconds: that it would take by the pace of steps before it; None: not known.
    """

    base: bool
    method: str
    epochs: int | None
    batch_size: int | None
    optimizer: str | None
    rate: float | None
    size: int
    seconds: float | None


def schedule_of(session: Session, spec: TaskSpec, pictures: int) -> Schedule:
    """Return how a task that is posted now would train.

    Args:
        session: to read in.
        spec: what is posted.
        pictures: to train on.

    Raises:
        InvalidProblem, NothingToStartFromProblem: it has nothing to start from.
    """
    start = check_start(session, spec.model, spec.parent)
    settings, base = spec.step_settings(), start is None
    run = settings.as_run(base)
    device = Needs.of(spec.model_dump(mode="json")).device
    pace = seconds_a_picture(session, settings, base, device)
    return Schedule(
        base=base,
        method=settings.method,
        epochs=run["epochs"],
        batch_size=run["batch_size"],
        optimizer=run["optimizer"],
        rate=settings.peak_rate(base) if run["epochs"] else None,
        size=start.settings["size"] if start else settings.size,
        seconds=None if pace is None else pace * pictures,
    )
