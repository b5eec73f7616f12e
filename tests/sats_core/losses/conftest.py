import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

REFERENCE = Path(__file__).parents[4] / "shared" / "reference"
CASES = ("case_1", "case_2", "case_3", "case_4")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One file of reference numbers, computed by the authors' released code in float64."""
    path = REFERENCE / f"{request.param}.npz"
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"the reference numbers are missing: {path}")
        pytest.skip(f"no reference numbers at {path}")
    with np.load(path, allow_pickle=False) as arrays:
        values: dict[str, Any] = {
            name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "meta"
        }
        values["meta"] = json.loads(str(arrays["meta"]))
    return values
