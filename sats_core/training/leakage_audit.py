"""The audit of a version's gradients: `python -m sats_core.training.leakage_audit JOB.json`.

Writes `report.json`, the picture as the step sees it (`picture.png`) and what each attack made of
its gradients, into the job's `out`. Exits with 2, and says why on stderr, where it is refused.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sats_core.classes import BACKGROUND, IGNORE, Catalogue
from sats_core.data.pictures import decode_mask, decode_picture
from sats_core.data.transforms import Pixels, View, evaluation_view, resize_label
from sats_core.errors import CoreError, PictureError
from sats_core.evaluation.gradient_matching import Effort
from sats_core.evaluation.leakage import drawn_mask, painted, reconstruct
from sats_core.evaluation.predict import predict
from sats_core.evaluation.similarity import psnr, ssim
from sats_core.export import load_version
from sats_core.files import write_whole
from sats_core.leakage_report import Attack, AttackFound, LeakageJob, LeakageReport, Similarity
from sats_core.models import Segmenter
from sats_core.settings import Limits

REPORT, PICTURE = "report.json", "picture.png"
REFUSED = 2


class Subject(NamedTuple):
    """The picture of the step.

    Attributes:
        name: of its file.
        picture: (S, S, 3).
        label: (S, S), channels, 255 ignored.
        source: where the label is from.
    """

    name: str
    picture: Pixels
    label: Pixels
    source: Literal["given", "predicted", "drawn"]


def audit(job: LeakageJob, attacks: Sequence[Attack] = tuple(Attack)) -> LeakageReport:
    """Run a step on one picture under some attacks, write what they make of it, and return it.

    Raises:
        ModelError: the version cannot be loaded.
        PictureError: a file is no picture or mask, or the mask does not fit, or says nothing of
            the square that the step sees.
        NothingLearnedError: the gradients are all zero.
    """
    version = load_version(job.version)
    model, catalogue = version.model, version.catalogue
    model.view = None  # its own would hold against the job's size
    subject = _subject(job, model, catalogue)
    unrelated = _square(_read(job.unrelated), job.size) if job.unrelated else None
    found = measured(model, subject, job, unrelated, attacks)
    shown = [catalogue.names[c] for c in np.unique(subject.label) if c != IGNORE]
    report = found.model_copy(update={"classes": tuple(shown)})
    write_whole(job.out / REPORT, (report.model_dump_json(indent=2) + "\n").encode())
    return report


def measured(
    model: Segmenter,
    subject: Subject,
    job: LeakageJob,
    unrelated: Pixels | None,
    attacks: Sequence[Attack],
) -> LeakageReport:
    """Attack a step on a picture, and write picture and reconstructions into the job's `out`.

    Args:
        model: in evaluation mode.
        subject: the picture.
        job: its size, iterations, seed and `out`.
        unrelated: another picture (S, S, 3).
        attacks: which.

    Returns:
        The report, its classes left empty.
    """
    pixels, labels = _tensor(subject.picture), torch.from_numpy(subject.label.copy()).long()[None]
    _write(job.out / PICTURE, pixels)
    rows = []
    for number, attack in enumerate(attacks):
        began = time.monotonic()
        effort = Effort(job.iterations)
        found = reconstruct(model, pixels, labels, attack, effort, job.seed)
        file = f"attack-{number + 1}.png"
        _write(job.out / file, found.pixels)
        rows.append(
            AttackFound(
                attack=attack,
                file=file,
                similarity=_similarity(pixels, found.pixels),
                distance_at_start=found.distances[0],
                distance=found.distances[-1],
                mask_agrees=found.mask_agrees,
                seconds=round(time.monotonic() - began, 1),
            )
        )
    mask = drawn_mask(model, torch.Generator().manual_seed(job.seed))
    marks = _marks(pixels, labels, job.seed)
    if unrelated is not None:
        marks["unrelated"] = _tensor(unrelated)
    return LeakageReport(
        picture=subject.name,
        labels=subject.source,
        classes=(),
        size=job.size,
        iterations=job.iterations,
        seed=job.seed,
        dropped=int((mask == 0).sum()),
        channels=mask.numel(),
        marks={name: _similarity(pixels, other) for name, other in marks.items()},
        attacks=tuple(rows),
    )


def _marks(pixels: Tensor, labels: Tensor, seed: int) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return {
        "flat": pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels),
        "painted": painted(pixels, labels),
        "noise": torch.rand(pixels.shape, generator=chance),
    }


def _similarity(pixels: Tensor, other: Tensor) -> Similarity:
    return Similarity(psnr=psnr(pixels, other), ssim=ssim(pixels[0], other[0]))


def _subject(job: LeakageJob, model: Segmenter, catalogue: Catalogue) -> Subject:
    if job.picture is None:
        picture, label = probe(job.size, len(catalogue), job.seed)
        return Subject("drawn", picture, label, "drawn")
    picture = _read(job.picture)
    if job.labels is None:
        square = _square(picture, job.size)
        return Subject(job.picture.name, square, predict(model, square, job.size), "predicted")
    label = _square(_channels(job.labels, catalogue, picture.shape[:2]), job.size)
    if (label == IGNORE).all():
        raise PictureError(
            f"{job.labels.name}: every pixel of the square in the middle is ignored, so that "
            "nothing is learned"
        )
    return Subject(job.picture.name, _square(picture, job.size), label, "given")


def _read(path: Path) -> Pixels:
    try:
        return decode_picture(path.read_bytes(), Limits().max_pixels)
    except PictureError as error:
        raise PictureError(f"{path.name}: {error}") from error


def _channels(path: Path, catalogue: Catalogue, size: tuple[int, ...]) -> Pixels:
    """Return a mask file of class indices as channels, (H, W)."""
    try:
        values = decode_mask(path.read_bytes(), Limits().max_pixels).values
    except PictureError as error:
        raise PictureError(f"{path.name}: {error}") from error
    if values.ndim != 2:
        raise PictureError(f"{path.name}: labels are one class index a pixel, not colours")
    if values.shape != size:
        height, width = values.shape
        raise PictureError(
            f"{path.name}: has {width} x {height} pixels, its picture {size[1]} x {size[0]}"
        )
    channels = {one.index: channel for channel, one in enumerate(catalogue.classes)}
    channels[IGNORE] = IGNORE
    table = np.zeros(2**16, dtype=np.uint8)
    for value in np.unique(values).tolist():
        if value not in channels:
            raise PictureError(f"{path.name}: the version has no class with index {value}")
        table[value] = channels[value]
    return table[values]


def _square(values: Pixels, size: int) -> Pixels:
    """Return the square in the middle of a picture (H, W, 3) or label (H, W), at another size."""
    height, width = values.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = values[top : top + side, left : left + side]
    if values.ndim == 2:
        return resize_label(square, size, size)
    return evaluation_view(square, View(stretch=(size, size)))


def probe(size: int, channels: int, seed: int) -> tuple[Pixels, Pixels]:
    """Draw a picture (S, S, 3) and its label (S, S): textured blocks of up to three classes."""
    rng = np.random.default_rng(seed)
    label = np.full((size, size), BACKGROUND, dtype=np.uint8)
    picture = _texture(rng, size)
    for _ in range(3 if channels > 1 else 0):
        top, left = rng.integers(0, size // 2, 2)
        rows, columns = (slice(at, at + size // 3) for at in (top, left))
        label[rows, columns] = rng.integers(1, channels)
        picture[rows, columns] = _texture(rng, size)[rows, columns]
    return picture, label


def _texture(rng: np.random.Generator, size: int) -> Pixels:
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return evaluation_view(coarse, View(stretch=(size, size))).copy()


def _tensor(picture: Pixels) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def _write(path: Path, pixels: Tensor) -> None:
    values = (pixels[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(values).save(path, "PNG")


def main(job_file: Path) -> int:
    """Run the audit of a job; returns the exit status."""
    job = LeakageJob.model_validate_json(job_file.read_bytes())
    try:
        audit(job)
    except (CoreError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
