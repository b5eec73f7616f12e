"""`deploy/install.sh` takes the build of torch that the machine can use, with what is there."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "install.sh"
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
# Stands for a Python: makes a .venv whose Python writes down what it is asked, and finds the index.
PYTHON = """#!/bin/sh
[ "$1" = -m ] || exit ${UNREACHABLE:-0}
mkdir -p .venv/bin
printf '#!/bin/sh\\necho pip "$@" >asked' >.venv/bin/python
chmod +x .venv/bin/python
"""
UV = '#!/bin/sh\necho uv "$@" >asked\n'


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def asked(folder: Path, uv: bool = False, **settings: str) -> str:
    """Run the script where nothing but `settings` is set; return what was asked to install."""
    tools = folder / "tools"
    tools.mkdir()
    for name in ("mkdir", "chmod", "uname", "sh"):
        (tools / name).symlink_to(f"/bin/{name}")
    if uv:
        program(tools / "uv", UV)
    python = program(tools / "python3", PYTHON)
    none = str(folder / "no-driver")
    environment = {"PATH": str(tools), "NVIDIA_DRIVER": none, **settings}
    subprocess.run([SCRIPT, python, "c.txt"], cwd=folder, env=environment, check=True, timeout=60)
    return (folder / "asked").read_text()


def test_without_a_driver_torch_comes_without_cuda(tmp_path: Path) -> None:
    said = asked(tmp_path)
    assert said.startswith("pip -m pip install")
    assert f"--extra-index-url {CPU_BUILDS} -c c.txt -e ./clients/python -e .[dev]" in said


@pytest.mark.parametrize(
    "settings",
    [
        {"NVIDIA_DRIVER": os.devnull},
        {"UNREACHABLE": "1"},
        {"TORCH_INDEX": ""},
        {"PIP_INDEX_URL": "https://packages.example.org/simple"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_otherwise_torch_is_what_pip_finds(tmp_path: Path, settings: dict[str, str]) -> None:
    assert "--extra-index-url" not in asked(tmp_path, **settings)


def test_a_driver_may_be_known_by_its_program_alone(tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    program(tmp_path / "programs" / "nvidia-smi", "#!/bin/sh\n")
    path = f"{tmp_path / 'tools'}:{tmp_path / 'programs'}"
    assert "--extra-index-url" not in asked(tmp_path, PATH=path)


def test_an_index_of_ones_own_is_taken(tmp_path: Path) -> None:
    own = "https://packages.example.org/torch"
    assert f"--extra-index-url {own} " in asked(tmp_path, TORCH_INDEX=own)


def test_uv_is_used_where_it_is_there_and_pip_was_told_nothing(tmp_path: Path) -> None:
    assert asked(tmp_path, uv=True).startswith("uv pip install --quiet --python .venv/bin/python")


def test_uv_does_not_read_what_pip_was_told(tmp_path: Path) -> None:
    said = asked(tmp_path, uv=True, PIP_FIND_LINKS="/opt/wheels")
    assert said.startswith("pip -m pip install")
