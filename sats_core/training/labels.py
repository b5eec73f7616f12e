"""Looking at a step's labels before it trains: figures, and warnings where they are suspect.

Nothing here refuses a task. The figures that the limits come from stand in docs/labels.md.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

from sats_core.data.cache import PictureCache
from sats_core.data.duplicates import duplicated, duplicated_in, thumbnail
from sats_core.data.labels import step_lookup
from sats_core.data.outlines import edge_ranks, outline_fit, region
from sats_core.data.pictures import Pixels
from sats_core.evaluation.held_out import HeldOut
from sats_core.evaluation.opinion import Region, most_called, regions, round_robin, told_apart
from sats_core.events import ProgressEvent
from sats_core.label_report import ClassLabels, LabelReport
from sats_core.training.label_warnings import LOOKED_INTO, warnings_of
from sats_core.training.loop import StoppedError
from sats_core.training.pictures import Gathered
from sats_core.training.progress import Emit, Progress
from sats_core.training.start import Start

MOST_OUTLINED = 64
"""Pictures of each class whose outlines are looked at."""
MOST_ASKED = 32
"""Pictures that the old model is asked about; as many kept ones where it knows a class."""
MOST_COMPARED = 20_000
"""Training pictures, and held-out ones of the task, that are compared for duplicates."""
MOST_KEPT = 2_000
"""Held-out pictures of earlier tasks that are read: spread over all, the same every time."""


def examine_labels(
    start: Start,
    new_classes: Sequence[str],
    gathered: Gathered,
    cache: PictureCache,
    earlier: Sequence[HeldOut],
    emit: Emit,
    should_stop: Callable[[], bool],
) -> LabelReport:
    """Look at the labels of a step.

    Args:
        start: of the step; the version before is asked what it sees.
        new_classes: that the step brings.
        gathered: its pictures.
        cache: the training pictures with the step's labels.
        earlier: held-out pictures of the tasks before; where they may be compared, copies of them
            are counted.
        emit: where events go.
        should_stop: asked often.

    Raises:
        DatasetError: a kept picture cannot be read.
        StoppedError: `should_stop` said yes.
    """
    go_on = partial(_go_on, should_stop)
    asked = _Asked(start, new_classes, gathered, cache, earlier, should_stop)
    own = gathered.thumbnails[: len(gathered.train)][:MOST_COMPARED]
    scoring = gathered.thumbnails[len(gathered.train) :][:MOST_COMPARED]
    kept = _thumbnails(earlier, emit, should_stop)
    classes = [
        ClassLabels(
            class_name=name,
            pictures=sum(name in names for names in gathered.shown),
            outline_fit=_fit(name, start, gathered, cache, should_stop),
            share=gathered.shares.of(name)[0],
            share_where_shown=gathered.shares.of(name)[1],
            **asked.figures(name),
        )
        for name in new_classes
    ]
    report = LabelReport(
        pictures=len(gathered.train),
        classes=tuple(classes),
        duplicates=int(duplicated(own, go_on).sum()),
        held_out_duplicates=int(duplicated_in(own, [*scoring, *kept], go_on).sum()),
        warnings=(),
    )
    return report.model_copy(update={"warnings": warnings_of(report)})


def _fit(
    name: str,
    start: Start,
    gathered: Gathered,
    cache: PictureCache,
    should_stop: Callable[[], bool],
) -> float | None:
    ranks, inside = [], []
    shows = (place for place, names in enumerate(gathered.shown) if name in names)
    for place in islice(shows, MOST_OUTLINED):
        _go_on(should_stop)
        picture, label = cache[place]
        ranks.append(edge_ranks(picture))
        inside.append(region(label, start.catalogue.channel(name)))
    return outline_fit(ranks, inside)


def _thumbnails(
    sets: Sequence[HeldOut], emit: Emit, should_stop: Callable[[], bool]
) -> list[Pixels]:
    """Return thumbnails of what training pictures may be compared with."""
    sample = _sample([held_out for held_out in sets if held_out.compared])
    if not sample:
        return []
    first = ProgressEvent(phase="validating", step=0, steps=len(sample))
    progress = Progress(emit, first, len(sample))
    thumbnails = []
    for number, (held_out, picture_id) in enumerate(sample, start=1):
        _go_on(should_stop)
        thumbnails.append(thumbnail(held_out.reader.picture(picture_id)))
        progress.advance(1, step=number)
    return thumbnails


def _sample(sets: Sequence[HeldOut]) -> list[tuple[HeldOut, str]]:
    """Return at most `MOST_KEPT` pictures, spread evenly over all sets, in their order."""
    pictures = [(held_out, picture_id) for held_out in sets for picture_id in held_out.ids]
    count = min(MOST_KEPT, len(pictures))
    return [pictures[number * len(pictures) // count] for number in range(count)]


class _Asked:
    """What the version before says of the new classes; nothing in a base step."""

    def __init__(
        self,
        start: Start,
        new_classes: Sequence[str],
        gathered: Gathered,
        cache: PictureCache,
        earlier: Sequence[HeldOut],
        should_stop: Callable[[], bool],
    ) -> None:
        self._start, self._earlier, self._should_stop = start, earlier, should_stop
        self._new: dict[int, list[Region]] = {}
        self._old: dict[str, list[Region]] = {}
        if start.old is None or not start.old.catalogue.foreground:
            return
        for place in round_robin(gathered.shown, new_classes, MOST_ASKED):
            _go_on(should_stop)
            found = regions(start.old.model, start.settings.size, *cache[place])
            for channel, one in found.items():
                self._new.setdefault(channel, []).append(one)

    def figures(self, name: str) -> dict[str, str | float | None]:
        """Return the fields of `ClassLabels` that the old model has a say in."""
        seen = self._new.get(self._start.catalogue.channel(name), [])
        most = most_called(seen)
        if most is None:
            return {"called": None, "called_share": None, "told_apart": None}
        channel, share = most
        called = self._start.catalogue.foreground[channel - 1]
        apart = told_apart(seen, self._kept(called)) if share >= LOOKED_INTO else None
        return {"called": called, "called_share": share, "told_apart": apart}

    def _kept(self, name: str) -> list[Region]:
        """Return regions of an old class in held-out pictures of earlier tasks, looked at once."""
        if name not in self._old:
            self._old[name] = list(islice(self._regions_of(name), MOST_ASKED))
        return self._old[name]

    def _regions_of(self, name: str) -> Iterator[Region]:
        if self._start.old is None:
            return
        old, size = self._start.old.model, self._start.settings.size
        for held_out, picture_id in _sample([one for one in self._earlier if name in one.classes]):
            _go_on(self._should_stop)
            lookup = step_lookup(held_out.reader.classes, {name: 1})
            label = lookup[held_out.reader.label(picture_id)]
            if (label == 1).any():
                found = regions(old, size, held_out.reader.picture(picture_id), label)
                if 1 in found:
                    yield found[1]


def _go_on(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise StoppedError
