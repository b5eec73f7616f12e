"""A version as a directory that `mlflow.pyfunc.load_model` opens.

    MLmodel  requirements.txt  python_env.yaml  conda.yaml
    code/sats_segmenter_0123abcd.py
    data/model.onnx  data/config.json

MLflow imports the module that `MLmodel` names and calls its `_load_pyfunc`. Nothing is pickled. The
module's name says its content: a process may load models that different releases have mirrored.
"""

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path

SHIPPED = Path(__file__).with_name("shipped.py")
MODEL = "model"
"""Folder of a run's artifacts that the directory becomes."""
FILES = ("model.onnx", "config.json")
NEEDED = ("mlflow-skinny>=3", "pandas", "numpy>=1.26", "onnxruntime>=1.20", "pillow>=11")


def pack(folder: Path, files: Mapping[str, Path], mlflow: str, run: str) -> None:
    """Write a model directory; a version's own files are linked to, not copied.

    Args:
        folder: an empty one.
        files: `FILES`, each with where it lies.
        mlflow: release of the client.
        run: id of the run that the directory is uploaded to.
    """
    code = SHIPPED.read_bytes()
    module = f"sats_segmenter_{hashlib.sha256(code).hexdigest()[:8]}"
    (folder / "code").mkdir()
    (folder / "code" / f"{module}.py").write_bytes(code)
    (folder / "data").mkdir()
    for name in FILES:
        (folder / "data" / name).symlink_to(files[name])
    (folder / "requirements.txt").write_text("\n".join((*NEEDED, "")))
    python = platform.python_version()
    environment = {
        "python": python,
        "build_dependencies": ["pip"],
        "dependencies": ["-r requirements.txt"],
    }
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": list(NEEDED)}],
    }
    flavor = {
        "loader_module": module,
        "code": "code",
        "data": "data",
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "python_version": python,
    }
    model = {
        "artifact_path": MODEL,
        "flavors": {"python_function": flavor},
        "mlflow_version": mlflow,
        "model_size_bytes": sum(path.stat().st_size for path in files.values()),
        "run_id": run,
    }
    import yaml  # of what is packed alone: the API reads a name off this module

    for name, said in (("MLmodel", model), ("python_env.yaml", environment), ("conda.yaml", conda)):
        (folder / name).write_text(yaml.safe_dump(said, sort_keys=False))
