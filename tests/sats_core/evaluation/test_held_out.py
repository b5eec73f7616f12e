"""Held-out pictures that models are shown one by one, and several together."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sats_core.classes import Catalogue
from sats_core.data.readers import EncodedPicture, open_reader, write_voc_zip
from sats_core.data.sources import ZipSource
from sats_core.evaluation.held_out import HeldOut, Look, Scored, score
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import Limits

SIZE = 64
SHAPES = [(64, 48), (64, 40), (64, 48), (32, 64), (64, 48), (64, 48)]
"""All but the fourth are seen 64 by 64 pixels, their padding included."""
CLASSES = ("a", "b")
CATALOGUE = Catalogue.empty().grow(CLASSES)


def encoded(pixels: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def held_out(tmp_path: Path) -> Iterator[HeldOut]:
    rng = np.random.default_rng(0)

    def items() -> Iterator[EncodedPicture]:
        for number, shape in enumerate(SHAPES):
            picture = rng.integers(0, 255, (*shape, 3), np.uint8)
            label = rng.integers(0, 3, shape, np.uint8)
            yield EncodedPicture(f"{number}", ".png", encoded(picture), label)

    write_voc_zip(tmp_path / "pictures.zip", items(), CLASSES)
    with ZipSource(tmp_path / "pictures.zip", Limits()) as source:
        reader = open_reader(source)
        yield HeldOut(reader, reader.ids, CLASSES)


def seen(held_out: HeldOut, at_once: int) -> tuple[Scored, list[int], list[Look]]:
    """Return scores, how many pictures each pass of a model had, and what was watched."""
    torch.manual_seed(0)
    model, old = (Segmenter(seeded_backbone("pvt_v2_b0", seed), [3]) for seed in (0, 1))
    passes: list[int] = []
    model.backbone.register_forward_hook(lambda _, given, __: passes.append(len(given[0])))
    looks: list[Look] = []
    told: list[None] = []
    scored = score(
        *(model, SIZE, CATALOGUE, {}, [held_out], lambda: told.append(None), old),
        watch=looks.append,
        at_once=at_once,
    )
    assert len(told) == len(SHAPES)
    return scored, passes, looks


def test_neighbours_of_one_shape_are_shown_together(held_out: HeldOut) -> None:
    one_by_one, passes, looks = seen(held_out, 1)
    assert passes == [1] * len(SHAPES)
    together, passes, others = seen(held_out, 2)
    assert passes == [2, 1, 1, 2]
    # Rounding may tip a pixel.
    assert together.scores.iou == pytest.approx(one_by_one.scores.iou, abs=2e-3)
    assert together.scores.pictures == one_by_one.scores.pictures == len(SHAPES)
    for one, other in zip(looks, others, strict=True):
        assert one.position == other.position
        assert (one.label == other.label).all()
        assert one.label.shape == SHAPES[one.position]
        for alone, beside in zip(one.answers, other.answers, strict=True):
            torch.testing.assert_close(alone.logits, beside.logits, rtol=1e-4, atol=1e-4)
            for stage, same in zip(alone.stages, beside.stages, strict=True):
                torch.testing.assert_close(stage, same, rtol=1e-4, atol=1e-3)
