"""What was measured of retired classes: the version before beside the one after."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from sats_core.classes import BACKGROUND, Catalogue
from sats_core.evaluation.fallen import to_background
from sats_core.evaluation.held_out import HeldOut, score
from sats_core.evaluation.membership import area_under_curve, loss_where_shown
from sats_core.evaluation.piggyback import Labelled, gap_closed, relearned
from sats_core.export import LoadedVersion
from sats_core.models import Segmenter
from sats_core.retirement import Membership, Piggyback, Proof
from sats_core.training.at_hand import LEAST_PROOF, AtHand, spread
from sats_core.training.unlearning import Before

MOST_TAUGHT = 10
"""Pictures that fresh rows are taught on: few, as somebody would have who takes a model up."""
MOST_SCORED = 200
MOST_FALLEN = 200
MOST_MEMBERS = 200


class Subject(NamedTuple):
    """What is compared.

    Attributes:
        before: the version that classes were taken from.
        old: its classes.
        after: the new model, in evaluation mode.
        catalogue: its classes.
        unaware: a version that never saw what went; None: there is none.
    """

    before: Before
    old: Catalogue
    after: Segmenter
    catalogue: Catalogue
    unaware: LoadedVersion | None


def todo(subject: Subject, pictures: Sequence[AtHand]) -> int:
    """Return how many pictures `proof` looks at, each as often as it does."""
    taught, scored = _parts(pictures)
    models = 2 + (subject.unaware is not None)
    members, others = _circles(pictures)
    return (
        2 * len(_unseen_held_out(subject, pictures))
        + min(len(pictures), MOST_FALLEN)
        + models * (len(taught) + len(scored))
        + (len(members) + len(others) if members and others else 0)
    )


def proof(
    subject: Subject,
    pictures: Sequence[AtHand],
    saw: Literal["posted", "kept", "noise", "none"],
    seen: Callable[[], None],
) -> Proof:
    """Measure what the pictures at hand can tell.

    Args:
        subject: what is compared.
        pictures: all that are at hand.
        saw: what the retirement saw of the classes.
        seen: called after each picture; what it raises ends it.

    Raises:
        DatasetError: a picture cannot be read.
    """
    before, size = subject.before, subject.before.size
    held_out = _unseen_held_out(subject, pictures)
    looked = (one.source.reader.picture(one.id) for one in spread(pictures, MOST_FALLEN))
    return Proof(
        pictures=saw,
        miou_before=_miou(before.model, subject.old, size, subject, held_out, seen),
        miou_after=_miou(subject.after, subject.catalogue, size, subject, held_out, seen),
        to_background=to_background(before.model, subject.after, size, looked, before.gone, seen),
        piggyback=_piggyback(subject, pictures, seen),
        membership=_membership(subject, pictures, seen),
    )


def _unseen_held_out(subject: Subject, pictures: Sequence[AtHand]) -> list[AtHand]:
    """Return held-out pictures that the retirement did not look at and that show what stays."""
    stays = set(subject.catalogue.foreground)
    return [
        one
        for one in pictures
        if one.proves and one.source.origin == "held_out" and stays & set(one.source.classes)
    ]


def _miou(
    model: Segmenter,
    catalogue: Catalogue,
    size: int,
    subject: Subject,
    held_out: Sequence[AtHand],
    seen: Callable[[], None],
) -> float | None:
    """Return the mean IoU of what stays and background; what goes counts as background."""
    stays = subject.catalogue.foreground
    sets = [
        HeldOut(one.source.reader, [one.id], [n for n in one.source.classes if n in stays])
        for one in held_out
    ]
    return score(model, size, catalogue, {}, sets, seen).scores.miou_all


def _parts(pictures: Sequence[AtHand]) -> tuple[list[AtHand], list[AtHand]]:
    """Return the pictures that rows are taught on and those that score them."""
    found = [one for one in pictures if one.proves and one.shows]
    if len(found) < LEAST_PROOF:
        return [], []
    taught = found[::2][:MOST_TAUGHT]
    return taught, spread([one for one in found if one not in taught], MOST_SCORED)


def _piggyback(
    subject: Subject, pictures: Sequence[AtHand], seen: Callable[[], None]
) -> Piggyback | None:
    taught, scored = _parts(pictures)
    if not taught:
        return None
    values = subject.before.values

    def labelled(one: AtHand) -> Labelled:
        picture, label = one.read(values)
        known = tuple(value for name, value in values.items() if name in one.source.classes)
        return picture, label, known

    def found(model: Segmenter, size: int) -> float | None:
        lesson, test = map(labelled, taught), map(labelled, scored)
        return relearned(model, size, lesson, test, len(values), seen)

    size = subject.before.size
    before, after = found(subject.before.model, size), found(subject.after, size)
    unaware = None
    if subject.unaware is not None:
        unaware = found(subject.unaware.model, int(subject.unaware.config["size"]))
    if before is None or after is None:
        return None
    return Piggyback(
        before=before,
        after=after,
        unaware=unaware,
        gap_closed=gap_closed(before, after, unaware),
        pictures=len(taught),
        scored_pictures=len(scored),
    )


def _circles(pictures: Sequence[AtHand]) -> tuple[list[AtHand], list[AtHand]]:
    """Return pictures that show what goes: trained on, and not even by the retirement."""
    showing = [one for one in pictures if one.shows]
    members = [one for one in showing if one.source.origin == "memory"]
    others = [one for one in showing if one.source.origin == "held_out" and one.proves]
    return spread(members, MOST_MEMBERS), spread(others, MOST_MEMBERS)


def _membership(
    subject: Subject, pictures: Sequence[AtHand], seen: Callable[[], None]
) -> Membership | None:
    """Return how well the loss on the class's pixels tells what was trained on.

    The version before is asked for the class, the one after for background, which its labels
    make of those pixels.
    """
    before = subject.before
    members, others = _circles(pictures)
    if not members or not others:
        return None
    asked = dict(enumerate(before.gone, start=1)), dict.fromkeys(before.values.values(), BACKGROUND)
    losses: list[list[tuple[float, float]]] = []
    for circle in (members, others):
        found = []
        for one in circle:
            picture, label = one.read(before.values)
            pair = [
                loss_where_shown(model, before.size, picture, label, channels)
                for model, channels in zip((before.model, subject.after), asked, strict=True)
            ]
            if pair[0] is not None and pair[1] is not None:
                found.append((pair[0], pair[1]))
            seen()
        losses.append(found)
    if not all(losses):
        return None
    was, now = ([[pair[side] for pair in found] for found in losses] for side in (0, 1))
    return Membership(
        before=area_under_curve(*was),
        after=area_under_curve(*now),
        members=len(losses[0]),
        others=len(losses[1]),
    )
