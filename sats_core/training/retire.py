"""Taking classes away: a version without them, and what was measured of it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from sats_core.classes import Catalogue
from sats_core.data.transforms import Pixels
from sats_core.errors import ClassError
from sats_core.evaluation.held_out import HeldOut, Scored, score
from sats_core.evaluation.picture_scores import PictureScores
from sats_core.events import DoneEvent, PhaseEvent, WarningEvent
from sats_core.export import LoadedVersion, export_version, load_version
from sats_core.method_settings import UnlearnSettings
from sats_core.methods.features import FeatureMemory
from sats_core.models import Segmenter
from sats_core.retirement import Depth, Proof, RetireJob, RetireResult
from sats_core.settings import DESCENT, StepSettings
from sats_core.training.at_hand import AtHand, Source, look_through, open_sources, spread
from sats_core.training.checkpoint import fingerprint_of_retirement
from sats_core.training.evaluating import evaluation_counter
from sats_core.training.hide import hidden
from sats_core.training.left import left_memory
from sats_core.training.loop import StoppedError
from sats_core.training.progress import Emit
from sats_core.training.proof import Subject, proof, todo
from sats_core.training.results import MOST_PROBES, VERSION, made_up_views, probes, write_result
from sats_core.training.schedule import filled_in
from sats_core.training.start import placed
from sats_core.training.unlearning import Before, cached, moved_along, unlearned

MOST_SOLVED_ON = 1000
"""Pictures that the background's row is solved on."""
LEAST_BATCH = 4
"""Pictures of a batch: half of it shows what goes, and two of those collide."""
RATES = {"adamw": 6e-4, "sgd": 0.01}
"""Peak learning rates unless others are asked for: those of a base step, as features must move."""

Saw = Literal["posted", "kept", "noise", "none"]


@dataclass(frozen=True)
class Retired:
    """What became of the version before.

    Attributes:
        model: without the classes.
        features: that the new version keeps.
        saw: what the retirement saw of the classes.
    """

    model: Segmenter
    features: FeatureMemory | None
    saw: Saw


def run_retire(
    job: RetireJob,
    emit: Emit,
    should_stop: Callable[[], bool],
    weights: UnlearnSettings | None = None,
) -> None:
    """Take classes from a version; everything ends up in `job.result`.

    Written there: `version/` (weights, config, graph, scores, card), `memory.zip` where the old
    version kept one and something of it is left, and `result.json` last. A retirement that was
    lost resumes from the checkpoint in `job.work`.

    Args:
        job: the retirement.
        emit: where events go, `DoneEvent` last.
        should_stop: asked often; it ends soon after it says yes.
        weights: of what unlearns, for whoever compares them.

    Raises:
        CoreError: the input is wrong; trying again gives the same.
        StoppedError: `should_stop` said yes.
    """
    began = time.monotonic()
    if job.threads:
        torch.set_num_threads(job.threads)
    job.work.mkdir(parents=True, exist_ok=True)
    emit(PhaseEvent(phase="validating"))
    old = load_version(job.old_version)
    unaware = load_version(job.unaware) if job.unaware else None
    before, catalogue = _before(job, old), old.catalogue.without(job.classes)
    with ExitStack() as stack:
        sources = open_sources(stack, job, old.catalogue, emit)
        pictures = look_through(sources, before.names, job.settings.seed, emit, should_stop)
        emit(PhaseEvent(phase="training"))
        settings = _settings(job, old)
        retired = _retired(job, old, before, pictures, settings, weights, emit, should_stop)
        subject = Subject(before, old.catalogue, retired.model, catalogue, unaware)
        introduced = {n: v for n, v in old.scores.introduced.items() if n in catalogue}
        scored, measured = _measured(
            subject, retired.saw, introduced, sources, pictures, emit, should_stop
        )
        job.result.mkdir(parents=True, exist_ok=True)
        result = RetireResult(
            classes=tuple(asdict(c) for c in catalogue.classes),
            retired=before.names,
            depth=job.depth,
            scores=scored.scores,
            confusion=scored.confusion,
            settings=_as_run(job, settings),
            proof=measured,
            memory=left_memory(job.result, sources, before.names, catalogue, job.settings.seed),
            seconds=time.monotonic() - began,
        )
        _write(job, old, catalogue, retired, result, pictures, scored.pictures)
    emit(DoneEvent())


def _before(job: RetireJob, old: LoadedVersion) -> Before:
    """Place the version's model and find the channels that go.

    Raises:
        ClassError: it does not know a class, or none would stay.
    """
    channels = sorted(old.catalogue.channels(job.classes))
    if not channels or len(channels) >= len(old.catalogue) - 1:
        raise ClassError("a retirement takes one class at least, and leaves one at least")
    model, size = placed(old.model).eval(), int(old.config["size"])
    return Before(model, size, old.catalogue.foreground, tuple(channels))


def _settings(job: RetireJob, old: LoadedVersion) -> StepSettings:
    """Return the settings filled in; backbone and size are the version's."""
    kept = {"backbone": old.config["backbone"], "size": old.config["size"]}
    rate = job.settings.learning_rate or RATES[job.settings.optimizer]
    larger = {"batch_size": max(LEAST_BATCH, job.settings.batch_size), "fusion": False}
    update = {**kept, **larger, "learning_rate": rate}
    return filled_in(job.settings.model_copy(update=update), base=False)


def _as_run(job: RetireJob, settings: StepSettings) -> dict[str, Any]:
    unread = DESCENT if job.depth is Depth.HIDE else ("accumulate", "checkpoint_activations")
    return {**settings.model_dump(mode="json"), **dict.fromkeys(("method", *unread))}


def _retired(
    job: RetireJob,
    old: LoadedVersion,
    before: Before,
    pictures: Sequence[AtHand],
    settings: StepSettings,
    weights: UnlearnSettings | None,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> Retired:
    """Hide the classes, and unlearn them where that is asked for."""

    def check() -> None:
        if should_stop():
            raise StoppedError

    seed = settings.seed
    looked = [one for one in pictures if not one.proves]
    features = _left_features(before, old.features)
    channels = {name: old.catalogue.channel(name) for name in old.catalogue.foreground}
    solved_on = (one.read(channels) for one in spread(looked, MOST_SOLVED_ON))
    made = hidden(before.model, before.size, old.features, before.gone, solved_on, seed, check)
    for warning in made.warnings:
        emit(WarningEvent(message=warning))
    if job.depth is Depth.HIDE:
        return Retired(made.model.eval(), features, "none")
    with ExitStack() as stack:
        caches = cached(stack, job.work, before, looked, seed, check)
        if caches.saw == "noise":
            emit(WarningEvent(message=NO_PICTURES))
        model = unlearned(
            *(before, made.model, caches, settings, weights or UnlearnSettings()),
            *(job.work, fingerprint_of_retirement(job), emit, should_stop),
        )
        if features is not None:
            features = moved_along(features, before, model, caches, seed, check)
    return Retired(model, features, caches.saw)


NO_PICTURES = (
    "no picture at hand shows what is retired: it is unlearned from made-up ones, which leaves "
    "most of what could be learned again and costs the other classes"
)


def _measured(
    subject: Subject,
    saw: Saw,
    introduced: Mapping[str, float | None],
    sources: Sequence[Source],
    pictures: Sequence[AtHand],
    emit: Emit,
    should_stop: Callable[[], bool],
) -> tuple[Scored, Proof]:
    """Score what stays, and measure what is left of what went."""
    emit(PhaseEvent(phase="evaluating"))
    if subject.unaware:
        placed(subject.unaware.model)
    sets = _scoring(sources, subject.catalogue)
    count = sum(len(each.ids) for each in sets) + todo(subject, pictures)
    seen = evaluation_counter(count, emit, should_stop)
    size = subject.before.size
    scored = score(subject.after, size, subject.catalogue, introduced, sets, seen, brought=())
    return scored, proof(subject, pictures, saw, seen)


def _left_features(before: Before, kept: FeatureMemory | None) -> FeatureMemory | None:
    """Return what the version keeps, without pixels of what goes."""
    if kept is None:
        return None
    device = next(before.model.parameters()).device
    called = before.classifier.logits(kept.features.to(device)).argmax(dim=1).to(kept.labels.device)
    shows = torch.isin(called, torch.tensor(before.gone, device=called.device))
    left = kept.without(before.gone, shows)
    return left if len(left.labels) else None


def _scoring(sources: Sequence[Source], catalogue: Catalogue) -> list[HeldOut]:
    """Return the held-out pictures with what stays of their classes."""
    sets = []
    for source in sources:
        stays = tuple(name for name in source.classes if name in catalogue)
        if source.origin == "held_out" and stays:
            kept = HeldOut(source.reader, source.reader.ids, stays, version=source.version)
            sets.append(kept)
    return sets


def _write(
    job: RetireJob,
    old: LoadedVersion,
    catalogue: Catalogue,
    retired: Retired,
    result: RetireResult,
    pictures: Sequence[AtHand],
    scores: PictureScores,
) -> None:
    """Write everything that the retirement gives back, `result.json` last."""
    config = {
        "kind": "retired",
        "size": old.config["size"],
        "retired": list(result.retired),
        "depth": str(result.depth),
        "settings": result.settings,
        "backbone_start": old.config["backbone_start"],
        "memory": result.memory.model_dump() if result.memory else None,
    }
    model = retired.model.to("cpu")
    export_version(
        job.result / VERSION,
        model,
        catalogue,
        result.scores,
        None,
        config,
        probes(model, int(old.config["size"]), _probed(pictures)),
        retired.features,
        pictures=scores,
    )
    write_result(job.result, result)


def _probed(pictures: Sequence[AtHand]) -> Iterator[Pixels]:
    """Yield pictures to compare graph and torch on: some at hand, or made-up ones."""
    if not pictures:
        yield from made_up_views()
    for one in spread(pictures, MOST_PROBES):
        yield one.source.reader.picture(one.id)
