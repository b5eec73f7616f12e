"""Masks as JSON."""

import json
from collections.abc import Sequence

from app.inference.cutting import Segmented
from app.registry.schemas import hex_colour
from app.segmentation.polygons import Left, polygons
from app.segmentation.regions import Region, regions
from app.segmentation.schemas import RunLengthsJson, SegmentedPictureJson, ShownClassJson
from sats_core.classes import BACKGROUND, Catalogue, ClassInfo


def described(
    name: str, found: Segmented, catalogue: Catalogue, tolerance: float | None, left: Left
) -> SegmentedPictureJson:
    """Return what one picture shows; polygons where a `tolerance` in pixels is given for them.

    Raises:
        TooLargeProblem: the polygons have more points than are left of the answer's.
    """
    height, width = found.mask.shape
    known = {c.index: c for c in catalogue.classes}
    return SegmentedPictureJson(
        name=name,
        width=width,
        height=height,
        classes=[
            _shown(known[region.index], region, found, tolerance, left)
            for region in regions(found.mask)
        ],
    )


def joined(model: str, version: int, pictures: Sequence[bytes]) -> bytes:
    """Return `SegmentationJson` of pictures that are JSON already: each was made by itself."""
    head = f'{{"model":{json.dumps(model)},"version":{version},"pictures":['
    return b"".join((head.encode(), b",".join(pictures), b"]}"))


def _shown(
    info: ClassInfo, region: Region, found: Segmented, tolerance: float | None, left: Left
) -> ShownClassJson:
    shown = ShownClassJson(
        index=info.index,
        name=info.name,
        color=hex_colour(info.colour),
        pixels=region.pixels,
        share=region.pixels / found.mask.size,
        score=found.scores.get(info.index),
        box=region.box,
    )
    if info.index != BACKGROUND:
        shown.rle = RunLengthsJson(size=region.size, counts=region.counts)
        if tolerance is not None:
            shown.polygons = polygons(found.mask, region, tolerance, left)
    return shown
