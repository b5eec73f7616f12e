"""What the dashboard and the alerts ask Prometheus for, as far as it can be read without one."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"
PROMETHEUS = DEPLOY / "prometheus" / "prometheus.yml"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
SCALING = DEPLOY / "kubernetes" / "scaling"

ADDED = {"instance", "job", "namespace", "pod"}
"""Labels that Prometheus puts on every sample, the last two in a cluster."""

_SELECTOR = re.compile(r"\b(sats_\w+|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')
_GROUPED = re.compile(r"\bby \(([^)]*)\)")
_SHOWN = re.compile(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}")


@dataclass(frozen=True)
class Expression:
    """One question in PromQL.

    Attributes:
        where: panel or alert.
        text: the expression.
        shown: labels that its legend or its message shows.
    """

    where: str
    text: str
    shown: frozenset[str]

    @property
    def selectors(self) -> list[tuple[str, dict[str, str]]]:
        """Names of samples, and a pattern of each label that is asked for."""
        return [
            (
                name,
                {label: _pattern(kind, value) for label, kind, value in _MATCHER.findall(inside)},
            )
            for name, inside in _SELECTOR.findall(self.text)
        ]

    @property
    def grouped(self) -> frozenset[str]:
        """Labels of every `by`."""
        return frozenset(
            label.strip() for inside in _GROUPED.findall(self.text) for label in inside.split(",")
        )


def dashboard() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return made


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels, without the rows that part them."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[Expression]:
    """Every expression of dashboard and alerts."""
    for panel in panels():
        for target in panel["targets"]:
            shown = frozenset(_SHOWN.findall(target["legendFormat"]))
            yield Expression(panel["title"], target["expr"], shown)
    for rule in alerts():
        said = " ".join(rule["annotations"].values())
        yield Expression(rule["alert"], rule["expr"], frozenset(_SHOWN.findall(said)))
    yield from _scalers()


def _scalers() -> Iterator[Expression]:
    """What says how many processes there should be."""
    scaled = yaml.safe_load((SCALING / "worker.yaml").read_text())
    for trigger in scaled["spec"]["triggers"]:
        yield Expression(scaled["metadata"]["name"], trigger["metadata"]["query"], frozenset())
    for rule in yaml.safe_load((SCALING / "adapter-rules.yaml").read_text())["rules"]["custom"]:
        # Filled in as the adapter does it for pods of one namespace, whose labels Prometheus adds.
        text = rule["metricsQuery"].replace("<<.GroupBy>>", "pod")
        named = text.replace("<<.LabelMatchers>>", 'namespace="sats"')
        yield Expression(rule["name"]["as"], named, frozenset())


def _pattern(kind: str, value: str) -> str:
    # Grafana's variable stands for any of the models that there are.
    return value.replace("$model", ".*") if kind == "=~" else re.escape(value)
