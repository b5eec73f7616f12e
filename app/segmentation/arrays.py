"""Masks as numpy's archives."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from numpy.typing import NDArray

from sats_core.classes import Catalogue
from sats_core.data.transforms import Pixels

_COMPRESSION = 1
"""zlib level: scores hardly get smaller at higher ones."""


def npz(mask: Pixels, scores: NDArray[np.float16], catalogue: Catalogue) -> bytes:
    """Return an archive that `numpy.load` reads; it holds no pickles.

    Args:
        mask: (H, W) class indices; `labels` in the archive.
        scores: (H, W) probabilities; `scores`.
        catalogue: names and indices, in the same order; `classes` and `indices`.
    """
    return _archive(
        {
            "labels": mask,
            "scores": scores,
            "classes": np.array(catalogue.names),
            "indices": np.array([c.index for c in catalogue.classes], dtype=np.uint8),
        }
    )


def _archive(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED, compresslevel=_COMPRESSION) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()
