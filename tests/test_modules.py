"""How long a module may be, and where it stands."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    *("app", "benchmarks", "clients/python/sats_client", "demo"),
    *("migrations", "sats_core", "worker"),
)
MOST_LINES = 300


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_module_is_short(folder: str) -> None:
    lines = {
        str(module.relative_to(ROOT)): len(module.read_text().splitlines())
        for module in (ROOT / folder).rglob("*.py")
    }
    assert lines
    assert {module: count for module, count in lines.items() if count > MOST_LINES} == {}


def test_every_module_of_the_service_has_a_room() -> None:
    """At the top stands what is started, `app.main:create_app`, and nothing else."""
    loose = {module.name for module in (ROOT / "app").glob("*.py")}
    assert loose == {"__init__.py", "main.py"}
