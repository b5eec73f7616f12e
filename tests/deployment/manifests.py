"""The manifests of `deploy/kubernetes`, as far as they are read without a cluster."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deployment.files import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION = "kustomization.yaml"
OTHERS_VALUES = {"adapter-rules.yaml"}
"""No objects of ours: what goes into another chart's values."""


@dataclass(frozen=True)
class Manifest:
    """One object, and the file in which it stands."""

    file: str
    content: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.content["kind"])

    @property
    def name(self) -> str:
        return str(self.content["metadata"]["name"])

    @property
    def pod(self) -> dict[str, Any] | None:
        """What its pods are made of."""
        template = self.content.get("spec", {}).get("template")
        return template and template["spec"]

    @property
    def labels(self) -> dict[str, str]:
        """Of its pods."""
        found: dict[str, str] = self.content["spec"]["template"]["metadata"]["labels"]
        return found


def kustomizations() -> dict[Path, dict[str, Any]]:
    return {
        path: yaml.safe_load(path.read_text()) for path in KUBERNETES.glob(f"*/{KUSTOMIZATION}")
    }


def patches() -> set[Path]:
    """Files that change an object and are none by themselves."""
    return {
        path.parent / patch["path"]
        for path, content in kustomizations().items()
        for patch in content.get("patches", [])
        if "path" in patch
    }


def manifests() -> Iterator[Manifest]:
    for path in sorted(KUBERNETES.glob("*/*.yaml")):
        if path.name in {KUSTOMIZATION, *OTHERS_VALUES} or path in patches():
            continue
        for content in yaml.safe_load_all(path.read_text()):
            yield Manifest(str(path.relative_to(KUBERNETES)), content)


def the(kind: str, name: str) -> Manifest:
    (found,) = (one for one in manifests() if (one.kind, one.name) == (kind, name))
    return found


def containers() -> list[tuple[Manifest, dict[str, Any]]]:
    """Every container, and what its pods are of."""
    return [
        (one, container)
        for one in manifests()
        for container in (one.pod or {}).get("containers", [])
    ]
