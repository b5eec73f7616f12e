"""Scoring a model on held-out pictures of its step and of the steps before."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from sats_core.classes import Catalogue
from sats_core.data.labels import labelled_lookup, step_lookup
from sats_core.data.readers import Reader, reading_order
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.picture_scores import PictureScores, SetScores
from sats_core.evaluation.predict import predict
from sats_core.evaluation.scores import Confusion, Scores, scores_of
from sats_core.models import Segmenter


@dataclass(frozen=True)
class HeldOut:
    """Held-out pictures of one step.

    Attributes:
        reader: of the pictures.
        ids: which of them.
        classes: what they are labelled for; of other classes they say nothing.
        compared: whether copies of them among training pictures are counted.
        version: number of the version that they came with; None: of the one that is scored.
    """

    reader: Reader
    ids: Sequence[str]
    classes: Sequence[str]
    compared: bool = True
    version: int | None = None


@dataclass(frozen=True)
class Scored:
    """What held-out pictures say of a model.

    Attributes:
        scores: IoU and what is read from it.
        confusion: what pixels of each class are taken for; None where there is no picture.
        pictures: IoU of every single picture.
    """

    scores: Scores
    confusion: Confusion | None
    pictures: PictureScores


def score(
    model: Segmenter,
    size: int,
    catalogue: Catalogue,
    introduced: Mapping[str, float | None],
    sets: Sequence[HeldOut],
    seen: Callable[[], None],
    old: Segmenter | None = None,
    brought: Collection[str] | None = None,
) -> Scored:
    """Score a model; it is left in evaluation mode.

    Args:
        model: to score.
        size: longer side of what it sees, pixels.
        catalogue: its classes.
        introduced: `Scores.introduced` of the version before; empty for a base step.
        sets: held-out pictures, each with the classes that it is labelled for.
        seen: called after each picture.
        old: the model before, whose channels come first in the catalogue; what it takes classes for
            is counted beside. It is left in evaluation mode too.
        brought: classes that the version brings; by default those of the catalogue's last step.

    Raises:
        DatasetError: a picture cannot be read.
    """
    models = [model.eval(), *([old.eval()] if old is not None else [])]
    own, earlier = ConfusionMatrix(len(catalogue)), ConfusionMatrix(len(catalogue))
    taken = [ConfusionMatrix(len(catalogue)) for _ in models]
    new = catalogue.newest if brought is None else tuple(brought)
    done = 0
    each_set = []
    for held_out in sets:
        matrix = earlier if set(new).isdisjoint(held_out.classes) else own
        channels = {name: catalogue.channel(name) for name in held_out.classes}
        truth = step_lookup(held_out.reader.classes, channels)
        answer = labelled_lookup(channels.values())
        overlaps = {}
        for picture_id in held_out.ids:
            picture = held_out.reader.read(picture_id)
            label = truth[picture.label]
            predictions = [predict(each, picture.picture, size) for each in models]
            alone = ConfusionMatrix(len(catalogue))
            alone.add(label, answer[predictions[0]])
            matrix.counts += alone.counts
            overlaps[picture_id] = alone.overlaps(channels.values())
            for counted, prediction in zip(taken, predictions, strict=True):
                counted.add_as_is(label, prediction, answer)
            done += 1
            seen()
        iou = tuple(overlaps[picture_id] for picture_id in reading_order(overlaps))
        each_set.append(SetScores(version=held_out.version, classes=tuple(channels), iou=iou))
    scores = scores_of(own + earlier, catalogue, introduced, done, earlier, new)
    return Scored(scores, _confusion(catalogue, taken, done), PictureScores(sets=tuple(each_set)))


def _confusion(
    catalogue: Catalogue, taken: Sequence[ConfusionMatrix], pictures: int
) -> Confusion | None:
    if not pictures:
        return None
    now, *before = (matrix.rows() for matrix in taken)
    return Confusion(
        classes=catalogue.names,
        pixels=now,
        before=before[0] if before else None,
        pictures=pictures,
    )
