"""`deploy/kubernetes`: every object is one, and every setting, port, path and command exists."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from fastapi.routing import APIRoute
from typer.testing import CliRunner

from app.cli import cli
from app.main import create_app
from app.settings import Settings
from tests.deployment.files import IMAGE_FOLDER, ROOT, compose, instructions, read, settings_named
from tests.deployment.manifests import (
    KUBERNETES,
    KUSTOMIZATION,
    OTHERS_VALUES,
    Manifest,
    containers,
    kustomizations,
    manifests,
    the,
)

OLDEST = "1.30"
"""The first Kubernetes whose `preStop` can sleep without a switch."""
CUSTOM = {"ScaledObject"}
"""Kinds that others bring; no schema of theirs is at hand."""
KNOWN_SETTINGS = {f"SATS_{name.upper()}" for name in Settings.model_fields}


def settings_map() -> dict[str, str]:
    found: dict[str, str] = the("ConfigMap", "sats-settings").content["data"]
    return found


def instruction(name: str) -> str:
    (arguments,) = (a for found, a in instructions(read("Dockerfile")) if found == name)
    return arguments


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_every_object_is_as_its_schema_says(version: str) -> None:
    judged = [one for one in manifests() if one.kind not in CUSTOM]
    assert len(judged) > 10
    for one in judged:
        kubernetes_validate.validate(one.content, version, strict=True)


@pytest.mark.parametrize("path", sorted(kustomizations()), ids=lambda path: path.parent.name)
def test_every_folder_is_put_together_as_it_is_applied(path: Path) -> None:
    """Patches and all; where there is a kubectl, which needs no cluster for this."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    done = subprocess.run(
        ["kubectl", "kustomize", str(path.parent)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = list(yaml.safe_load_all(done.stdout))
    for one in made:
        if one["kind"] not in CUSTOM:
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    found = {one["metadata"]["name"]: one for one in made if one["kind"] == "Deployment"}
    assert set(found) == {"sats-api", "sats-worker"}
    (worker,) = found["sats-worker"]["spec"]["template"]["spec"]["containers"]
    gpus = worker["resources"].get("limits", {}).get("nvidia.com/gpu")
    assert gpus == ("1" if path.parent.name == "gpu" else None)
    scaled = path.parent.name == "scaling"
    assert all(("replicas" not in one["spec"]) == scaled for one in found.values())


def test_a_misspelt_field_is_noticed() -> None:
    wrong = the("Deployment", "sats-api").content
    wrong["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, OLDEST, strict=True)


def test_every_file_is_named_by_a_kustomization() -> None:
    named = set()
    for path, content in kustomizations().items():
        told = [
            *content["resources"],
            *(p["path"] for p in content.get("patches", []) if "path" in p),
        ]
        for one in told:
            file = (path.parent / one).resolve()
            assert file.exists(), f"{path} names {one}"
            named.add(file)
    there = {path for path in KUBERNETES.glob("*/*.yaml") if path.name not in {KUSTOMIZATION}}
    assert {path for path in there if path.name not in OTHERS_VALUES} <= named


def test_every_patch_changes_something_that_is_there() -> None:
    for path, content in kustomizations().items():
        for patch in content.get("patches", []):
            if "path" not in patch:
                continue
            patched = yaml.safe_load((path.parent / patch["path"]).read_text())
            meant = the(patched["kind"], patched["metadata"]["name"])
            assert meant.pod is not None
            names = {one["name"] for one in meant.pod["containers"]}
            for one in patched["spec"]["template"]["spec"]["containers"]:
                assert one["name"] in names, "a patch would add a container"


def test_every_setting_is_one_and_the_service_starts_with_them(monkeypatch: Any) -> None:
    files = [*KUBERNETES.glob("*/*.yaml"), ROOT / "docs" / "kubernetes.md"]
    told = set().union(*(settings_named(path.read_text()) for path in files))
    assert told <= KNOWN_SETTINGS
    for name, value in settings_map().items():
        monkeypatch.setenv(name, value)
    assert str(Settings().data_dir) == IMAGE_FOLDER


@pytest.mark.parametrize(("one", "container"), containers(), ids=lambda x: getattr(x, "name", ""))
def test_every_command_exists(one: Manifest, container: dict[str, Any]) -> None:
    program, *arguments = container["command"]
    assert program == "sats"
    answer = CliRunner().invoke(cli, [*arguments, "--help"])
    assert answer.exit_code == 0, answer.output


def test_the_api_is_started_as_in_the_image() -> None:
    (container,) = (the("Deployment", "sats-api").pod or {})["containers"]
    assert container["command"] == json.loads(instruction("CMD"))


def test_everybody_means_the_same_port() -> None:
    api = the("Deployment", "sats-api")
    ((port,),) = (one["ports"] for kind, one in containers() if kind.name == "sats-api")
    assert str(port["containerPort"]) == instruction("EXPOSE")
    annotations = api.content["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == instruction("EXPOSE")
    (served,) = the("Service", "sats-api").content["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    (rule,) = the("NetworkPolicy", "sats-api-in").content["spec"]["ingress"]
    assert [one["port"] for one in rule["ports"]] == [port["name"]]


def test_every_probe_asks_for_a_path_that_is_there() -> None:
    paths = {route.path for route in create_app(Settings()).routes if isinstance(route, APIRoute)}
    annotations = the("Deployment", "sats-api").content["spec"]["template"]["metadata"][
        "annotations"
    ]
    asked = {annotations["prometheus.io/path"]}
    for _, container in containers():
        probes = [value for name, value in container.items() if name.endswith("Probe")]
        asked |= {probe["httpGet"]["path"] for probe in probes}
    assert len(asked) == 3
    assert asked <= paths


def test_requests_that_were_accepted_are_answered_before_a_pod_is_killed() -> None:
    pod = the("Deployment", "sats-api").pod or {}
    (container,) = pod["containers"]
    sleeps = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    stop = float(settings_map()["SATS_STOP_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] > sleeps + stop


def test_a_step_has_as_long_to_stop_as_under_compose() -> None:
    pod = the("Deployment", "sats-worker").pod or {}
    given = compose()["services"]["worker"]["stop_grace_period"]
    assert pod["terminationGracePeriodSeconds"] >= int(given.removesuffix("s"))


def test_pods_hold_to_the_restricted_standard() -> None:
    namespace = the("Namespace", "sats").content["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"
    user = int(instruction("USER").split(":")[0])
    seen = 0
    for one, container in containers():
        pod = one.pod or {}
        assert pod["securityContext"]["runAsUser"] == user
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == {
            volume["name"] for volume in pod["volumes"]
        }
        assert IMAGE_FOLDER in {mount["mountPath"] for mount in container["volumeMounts"]}
        assert container["resources"]["limits"]["memory"]
        seen += 1
    assert seen == 3


def test_secrets_come_by_reference_alone() -> None:
    for _, container in containers():
        assert container["envFrom"] == [
            {"configMapRef": {"name": "sats-settings"}},
            {"secretRef": {"name": "sats"}},
        ]
    assert not any(one.kind == "Secret" for one in manifests())
    secret = {name for name in KNOWN_SETTINGS if name.endswith(("_SECRET", "_KEY", "_URL"))}
    assert settings_map().keys() & secret <= {"SATS_STORE_URL"}, "a bucket's name is no secret"


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [
        ("Deployment", "sats-api", ("selector", "matchLabels")),
        ("Deployment", "sats-worker", ("selector", "matchLabels")),
        ("PodDisruptionBudget", "sats-api", ("selector", "matchLabels")),
        ("PodDisruptionBudget", "sats-worker", ("selector", "matchLabels")),
        ("Service", "sats-api", ("selector",)),
    ],
)
def test_what_selects_pods_finds_its_own_alone(kind: str, name: str, path: tuple[str, ...]) -> None:
    wanted = the(kind, name).content["spec"]
    for key in path:
        wanted = wanted[key]
    pods = {one.name: one.labels for one in manifests() if one.pod}
    assert [found for found, labels in pods.items() if wanted.items() <= labels.items()] == [name]


def test_only_the_api_is_reached_from_outside() -> None:
    pods = {one.name: one.labels for one in manifests() if one.pod}

    def chosen(policy: str) -> set[str]:
        labels = the("NetworkPolicy", policy).content["spec"]["podSelector"]["matchLabels"]
        return {name for name, found in pods.items() if labels.items() <= found.items()}

    assert chosen("sats-nobody-in") == set(pods)
    assert "ingress" not in the("NetworkPolicy", "sats-nobody-in").content["spec"]
    assert chosen("sats-api-in") == {"sats-api"}


def test_what_scales_names_what_is_there() -> None:
    asked = the("HorizontalPodAutoscaler", "sats-api").content["spec"]
    assert the(asked["scaleTargetRef"]["kind"], asked["scaleTargetRef"]["name"])
    assert the(
        "Deployment", the("ScaledObject", "sats-worker").content["spec"]["scaleTargetRef"]["name"]
    )
    rules = yaml.safe_load((KUBERNETES / "scaling" / "adapter-rules.yaml").read_text())
    told = {rule["name"]["as"] for rule in rules["rules"]["custom"]}
    wanted = {m["pods"]["metric"]["name"] for m in asked["metrics"] if m["type"] == "Pods"}
    assert wanted == told


def test_every_kustomization_has_the_image_that_compose_builds() -> None:
    name = compose()["services"]["api"]["image"].split(":")[0]
    assert all(container["image"] == name for _, container in containers())
    for content in kustomizations().values():
        assert all(image["name"] == name for image in content.get("images", []))
    assert (ROOT / "Dockerfile").exists()
