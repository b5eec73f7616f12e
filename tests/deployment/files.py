"""The deployment files, read as far as a machine without Docker can read them."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
IMAGE_FOLDER = "/data"
OTHER_IMAGES = {"postgres", "redis", "s3"}


def read(name: str) -> str:
    return (ROOT / name).read_text()


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Return (instruction, arguments) in order; continued lines are joined, comments dropped."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(name.upper(), arguments) for name, arguments in pairs]


def copied(dockerfile: str) -> list[str]:
    """Return what COPY takes from the build context."""
    sources = []
    for name, arguments in instructions(dockerfile):
        if name == "COPY" and "--from=" not in arguments:
            sources += [word for word in arguments.split()[:-1] if not word.startswith("--")]
    return sources


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))
    return content


def own_commands() -> list[list[str]]:
    """Return every command line that our image is started with."""
    default = next(a for name, a in instructions(read("Dockerfile")) if name == "CMD")
    commands = [json.loads(default)]
    for name, service in compose()["services"].items():
        if name not in OTHER_IMAGES and "command" in service:
            commands.append(service["command"])
    return commands


def shell_commands(text: str, program: str) -> list[list[str]]:
    """Return the command lines of a program in a text, comments behind them dropped."""
    lines = re.findall(rf"^#?[ $]*({program} .*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def interpolated(value: str, variables: dict[str, str]) -> str:
    """Fill in `${NAME}`, `${NAME:?message}` and `${NAME:-default}` as Compose does."""

    def fill(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        return variables.get(name) or (rest if kind == ":-" else variables[name])

    return re.sub(r"\$\{([A-Z_]+)(?:(:[-?])([^}]*))?\}", fill, value)


def settings_named(text: str) -> set[str]:
    return set(re.findall(r"\bSATS_[A-Z][A-Z_]*[A-Z]\b", text))
