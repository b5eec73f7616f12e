"""Dockerfile, docker-compose.yml and what they name."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from sqlalchemy import make_url
from typer.testing import CliRunner

from app.cli import cli
from app.db import make_engine
from app.settings import Settings
from tests.deployment.files import (
    IMAGE_FOLDER,
    OTHER_IMAGES,
    ROOT,
    compose,
    copied,
    instructions,
    interpolated,
    own_commands,
    read,
    settings_named,
    shell_commands,
)
from tests.fixtures.processes import serving

SECRETS = {"POSTGRES_PASSWORD": "not-a-secret", "SATS_KEY_SECRET": "not-a-secret"}
KNOWN_SETTINGS = {f"SATS_{name.upper()}" for name in Settings.model_fields}


def test_the_dockerfile_passes_hadolint():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint has no wheel for this platform")
    done = subprocess.run(
        [hadolint, "--failure-threshold", "style", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_copied_exists_and_reaches_the_builder():
    let_through = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    sources = copied(read("Dockerfile"))
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source in let_through, f"{source} is kept out by .dockerignore"
    assert let_through == set(sources), ".dockerignore lets through what nobody copies"


def test_every_package_of_ours_is_copied():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages <= set(copied(read("Dockerfile")))


def test_the_image_runs_as_somebody_without_rights():
    (user,) = (arguments for name, arguments in instructions(read("Dockerfile")) if name == "USER")
    assert user.split(":")[0] not in {"root", "0"}


def the(instruction: str) -> str:
    """What the image's one instruction of this name says."""
    (arguments,) = (a for name, a in instructions(read("Dockerfile")) if name == instruction)
    return arguments


def test_everybody_means_the_same_port():
    command = json.loads(the("CMD"))
    port = command[command.index("--port") + 1]
    assert the("EXPOSE") == port
    assert f"http://127.0.0.1:{port}/" in the("HEALTHCHECK")
    (published,) = compose()["services"]["api"]["ports"]
    assert published.endswith(f":{port}")


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_the_health_check_passes_where_the_service_is_ready_and_only_there(service, settings):
    probe = json.loads(the("HEALTHCHECK").partition("CMD ")[2])
    assert probe[0] == "python"

    def passes(url: str) -> bool:
        address = "http://127.0.0.1:8000"
        command = [sys.executable, *(part.replace(address, url) for part in probe[1:])]
        assert address in "".join(probe)
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    with serving(service) as url:
        assert passes(url)
        settings.blob_dir.rename(settings.data_dir / "gone")
        assert not passes(url)
    assert not passes(url), "nobody listens there"


def test_the_settings_of_the_image_and_the_services_are_read_and_lead_to_them(monkeypatch):
    content = compose()
    words = shlex.split(
        " ".join(a for name, a in instructions(read("Dockerfile")) if name == "ENV")
    )
    image = dict(word.split("=", 1) for word in words)
    assert image["SATS_DATA_DIR"] == IMAGE_FOLDER
    own = [s for name, s in content["services"].items() if name not in OTHER_IMAGES]
    assert len({json.dumps(service["environment"], sort_keys=True) for service in own}) == 1
    for name, value in own[0]["environment"].items():
        monkeypatch.setenv(name, interpolated(value, SECRETS))
    settings = Settings()
    database = make_url(settings.resolved_database_url)
    assert make_engine(settings.resolved_database_url).dialect.driver == "psycopg"
    served = content["services"][database.host]["environment"]
    given = {name: interpolated(value, SECRETS) for name, value in served.items()}
    assert given["POSTGRES_USER"] == database.username
    assert given["POSTGRES_PASSWORD"] == database.password
    assert given["POSTGRES_DB"] == database.database
    check = content["services"][database.host]["healthcheck"]["test"]
    assert check[check.index("--username") + 1] == database.username
    assert check[check.index("--dbname") + 1] == database.database
    assert settings.redis_url.startswith("redis://")
    assert make_url(settings.redis_url).host in content["services"]


def test_every_variable_of_compose_is_in_the_example_or_has_a_default():
    text = read("docker-compose.yml")
    asked = set(re.findall(r"\$\{([A-Z_]+)", text)) - set(re.findall(r"\$\{([A-Z_]+):-", text))
    given = {line.partition("=")[0] for line in read(".env.example").splitlines() if "=" in line}
    assert given == asked


@pytest.mark.parametrize("name", ["README.md", "docker-compose.yml"])
def test_the_compose_commands_that_we_tell_of_work_on_this_file(name):
    services = compose()["services"]
    found = shell_commands(read(name), "docker compose")
    assert [command[2] for command in found] == ["build", "run", "up"]
    _, _, _, *rest = found[1]
    service, program, *arguments = [word for word in rest if word != "--rm"]
    assert service in services
    assert program == "sats"
    assert CliRunner().invoke(cli, [*arguments, "--help"]).exit_code == 0
    wants = services[service]["depends_on"]
    assert wants == {"postgres": {"condition": "service_healthy"}}, "it runs before all others do"


@pytest.mark.parametrize("command", own_commands(), ids=" ".join)
def test_every_command_exists(command):
    program, *arguments = command
    assert tomllib.loads(read("pyproject.toml"))["project"]["scripts"][program] == "app.cli:cli"
    answer = CliRunner().invoke(cli, [*arguments, "--help"])
    assert answer.exit_code == 0, answer.output


@pytest.mark.parametrize("name", ["Dockerfile", "docker-compose.yml", ".env.example"])
def test_every_setting_named_is_a_setting(name):
    assert settings_named(read(name)) <= KNOWN_SETTINGS


def test_every_service_that_starts_on_a_condition_can_meet_it():
    services = compose()["services"]
    for service in services.values():
        for needed, rule in service.get("depends_on", {}).items():
            assert needed in services
            if rule["condition"] == "service_healthy":
                assert "test" in services[needed]["healthcheck"]
            if rule["condition"] == "service_completed_successfully":
                assert services[needed]["restart"] == "no"


def test_api_and_worker_share_their_files():
    content = compose()
    shared = content["services"]["api"]["volumes"]
    assert shared == content["services"]["worker"]["volumes"]
    (volume,) = shared
    name, folder = volume.split(":")
    assert name in content["volumes"]
    assert folder == IMAGE_FOLDER == content["services"]["api"]["environment"]["SATS_DATA_DIR"]
    assert f"VOLUME {IMAGE_FOLDER}" in read("Dockerfile")


def test_a_worker_with_a_gpu_differs_in_it_alone():
    services = compose()["services"]
    plain, gpu = services["worker"], dict(services["worker-gpu"])
    assert gpu.pop("profiles") == ["gpu"]
    (device,) = gpu.pop("deploy")["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    build, image, command = (gpu.pop(name) for name in ("build", "image", "command"))
    assert command == [*plain["command"], "--device", "cuda"]
    assert image != plain["image"], "two builds of one name would take each other's place"
    (argument,) = build["args"]
    assert f"ARG {argument}=" in read("Dockerfile")
    alike = plain.keys() - {"build", "image", "command"}
    assert gpu == {name: plain[name] for name in alike}


def test_secrets_have_no_defaults():
    text = read("docker-compose.yml")
    for name in SECRETS:
        assert f"${{{name}:?" in text
        assert f"${{{name}:-" not in text
        assert f"\n{name}=\n" in read(".env.example")


def test_the_api_is_published_on_loopback_only():
    for service in compose()["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_what_stops_is_given_the_time_that_it_takes():
    period = compose()["services"]["api"]["stop_grace_period"]
    assert float(period.removesuffix("s")) >= Settings().stop_seconds + 2


def test_compose_accepts_the_file(tmp_path):
    """Where there is a Compose that works; it needs no daemon for this."""
    if shutil.which("docker") is None:
        pytest.skip("no docker here")
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("this docker has no compose")
    done = subprocess.run(
        ["docker", "compose", "--file", str(ROOT / "docker-compose.yml"), "config"],
        env={**os.environ, **SECRETS},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(compose()["services"])


def test_ci_runs_the_same_targets():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert "set -euo pipefail" in script.read_text()
    targets = {line.split(":")[0] for line in read("Makefile").splitlines() if ":" in line}
    for line in script.read_text().splitlines():
        if line.startswith("make "):
            asked = {word for word in line.split()[1:] if not word.startswith("-")}
            assert asked
            assert asked <= targets
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
