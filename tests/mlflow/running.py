"""A real MLflow server in a process of its own, and Python where a mirrored model is loaded."""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.label_studio.running import ROOT, free_port, process, until_answered

PYTHON = Path(os.environ.get("SATS_MLFLOW_VENV", ROOT / ".venv-mlflow")) / "bin/python"
"""Of the environment that MLflow, ONNX Runtime and nothing of ours is installed in."""
START_SECONDS = 300
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PYTHONPATH": "",
}
_LOAD = """
import importlib.util, json, sys
import numpy as np
names = "app", "worker", "sats_core", "torch", "timm"
assert not [name for name in names if importlib.util.find_spec(name)], "ours is here"
import mlflow
server, model, out, *pictures = sys.argv[1:]
mlflow.set_tracking_uri(server)
loaded = mlflow.pyfunc.load_model(model)
data = [open(name, "rb").read() for name in pictures]
masks = loaded.predict(data)
import base64, pandas
table = pandas.DataFrame({"image": [base64.b64encode(one).decode() for one in data]})
same = all(map(np.array_equal, masks, loaded.predict(table)))
np.savez(out, *masks)
json.dump({"mlflow": mlflow.__version__, "table_is_the_same": same}, sys.stdout)
"""


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """Run MLflow on the database and the files in a folder, and give its URL."""
    command = [
        *(PYTHON, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", folder / "artifacts", "--workers", 1),
    ]
    url = f"http://127.0.0.1:{port}"
    with process([str(part) for part in command], _QUIET, folder / "mlflow.log"):
        until_answered(f"{url}/health", START_SECONDS, folder / "mlflow.log")
        yield url


def load_and_predict(server: str, model: str, out: Path, pictures: Sequence[Path]) -> Any:
    """Load a model where nothing of ours is, segment pictures, and write their masks.

    Returns: what it says of itself.
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SATS_")}
    words = [str(PYTHON), "-c", _LOAD, server, model, str(out), *map(str, pictures)]
    said = subprocess.check_output(words, env=plain | _QUIET, text=True, cwd=out.parent)
    return json.loads(said.splitlines()[-1])


__all__ = ["PYTHON", "ROOT", "free_port", "load_and_predict", "mlflow_server"]
