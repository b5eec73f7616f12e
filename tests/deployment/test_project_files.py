"""What stands beside the code agrees with it."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def text(name: str) -> str:
    return (ROOT / name).read_text()


def requirements() -> Iterator[Requirement]:
    """Yield what is installed here besides what has an extra of its own."""
    for line in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]):
        found = Requirement(line)
        if found.name != "sats" and (found.marker is None or found.marker.evaluate()):
            yield found


def pins() -> dict[str, Version]:
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    found = {name: Version(number) for name, number in (line.split("==") for line in lines)}
    assert len(found) == len(lines)
    return {re.sub(r"[-_.]+", "-", name).lower(): number for name, number in found.items()}


@pytest.mark.parametrize("needed", list(requirements()), ids=lambda needed: needed.name)
def test_every_dependency_has_a_version_that_its_range_allows(needed: Requirement) -> None:
    pinned = pins()[re.sub(r"[-_.]+", "-", needed.name).lower()]
    assert needed.specifier.contains(pinned), "run `make lock`"


def test_the_license_is_the_one_that_is_named() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert text("LICENSE").lstrip().startswith("Apache License\n")
    assert "Version 2.0, January 2004" in text("LICENSE")
    assert yaml.safe_load(text("CITATION.cff"))["license"] == PROJECT["license"]


def test_what_is_cited_is_this_version() -> None:
    cited = yaml.safe_load(text("CITATION.cff"))
    assert cited["version"] == PROJECT["version"]
    assert {"cff-version", "message", "title", "authors", "references"} <= set(cited)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "docs/decisions/README.md"])
def test_what_a_page_points_at_is_there(name: str) -> None:
    page, folder = text(name), (ROOT / name).parent
    linked = [one for one in re.findall(r"\]\(([^)#]+)\)", page) if "://" not in one]
    # Between backquotes: a path, not a command or a pattern.
    spoken = [one for one in re.findall(r"`([\w./-]+)`", page) if "/" in one]
    assert linked or spoken
    missing = [one for one in linked if not (folder / one).exists()]
    missing += [one for one in spoken if not (ROOT / one).exists()]
    assert not missing


def test_commands_that_a_newcomer_is_told_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    told = set(re.findall(r"make ([a-z-]+)", text("CONTRIBUTING.md") + text("SECURITY.md")))
    assert told <= targets


def test_packages_of_the_usual_environment_are_given_to_its_own_python() -> None:
    recipes = re.split(r"^(?=[a-z-]+:)", text("Makefile"), flags=re.MULTILINE)
    sharing = [one for one in recipes if "addsitedir" in one]
    assert sharing
    for one in sharing:
        assert re.findall(r"(\S+) -m venv", one) == ["$(BIN)/python"]


def test_ci_elsewhere_runs_what_ci_here_runs() -> None:
    workflow = yaml.safe_load(text(".github/workflows/ci.yml"))
    steps = [step.get("run", "") for step in workflow["jobs"]["run"]["steps"]]
    assert ".ci/run" in steps
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    linted = set(
        re.findall(r"\$\(BIN\)/(ruff check|ruff format|mypy|lint-imports)", text("Makefile"))
    )
    assert {re.search(r"bin/([a-z-]+(?: [a-z]+)?)", hook["entry"])[1] for hook in hooks} == linted
