import json
from typing import Any

import numpy as np
import pytest
import torch

from tests.fixtures.shared import shared

CASES = ("case_1", "case_2", "case_3", "case_4")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One file of reference numbers, computed by the authors' released code in float64."""
    path = shared("reference", f"{request.param}.npz")
    with np.load(path, allow_pickle=False) as arrays:
        values: dict[str, Any] = {
            name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "meta"
        }
        values["meta"] = json.loads(str(arrays["meta"]))
    return values
