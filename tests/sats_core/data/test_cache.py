import pickle
from pathlib import Path

import numpy as np

from sats_core.data.cache import PictureCache


def test_what_is_cached_can_be_read_elsewhere(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = [(20, 30), (9, 4), (45, 45)]
    pictures = [
        (rng.integers(0, 255, (*shape, 3), np.uint8), rng.integers(0, 4, shape, np.uint8))
        for shape in shapes
    ]
    with PictureCache(tmp_path / "pictures.raw", 32) as cache:
        for pair in pictures:
            cache.add(*pair)
        filled = pickle.loads(pickle.dumps(cache.filled()))
        assert len(filled) == len(cache) == 3
        for index, pair in enumerate(pictures):
            for here, there, was in zip(cache[index], filled[index], pair, strict=True):
                assert np.array_equal(here, was)
                assert np.array_equal(there, was)
