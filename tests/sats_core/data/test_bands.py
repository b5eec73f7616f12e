"""What is counted in bands is what is there."""

import numpy as np
import pytest

from sats_core.data import bands


@pytest.mark.parametrize("band", [1, 7, 64, 2**20])
def test_values_are_counted_whatever_the_bands(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "BAND_PIXELS", band)
    label = np.random.default_rng(0).integers(0, 256, (13, 9)).astype(np.uint8)
    counts = bands.value_counts(label)
    assert counts.shape == (256,)
    np.testing.assert_array_equal(counts, np.bincount(label.ravel(), minlength=256))
