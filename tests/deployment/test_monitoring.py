"""Dashboard, alerts and scraping ask for what a real `/metrics` tells."""

import re
from collections.abc import Iterator

import promql_parser
import pytest
import yaml
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.db import TaskState, write_session
from app.main import create_app
from app.processes.restarts import SUPERVISED, write_restarts
from app.settings import Settings
from app.storage import BlobStore
from tests.app.segmentation.conftest import Register, register
from tests.app.segmentation.requests import as_files, encoded, left_red_right_green
from tests.deployment.expressions import (
    ADDED,
    ALERTS,
    PROMETHEUS,
    Expression,
    alerts,
    dashboard,
    expressions,
    panels,
)
from tests.fixtures.samples import Samples, samples
from tests.worker.bench import Bench
from tests.worker.scripted_child import Control
from worker.claim import claim, enter, report

__all__ = ["register"]

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

PROGRESS = {"phase": "training", "epoch": 1, "epochs": 2, "step": 1, "steps": 2}
UP = ("up", ("instance", "127.0.0.1:8000"), ("job", "sats"))


def train(bench: Bench, client: TestClient) -> None:
    """One task that went live, one that failed, one that runs and one that waits."""
    assert bench.run(["cat"], model="pets").state == TaskState.LIVE
    bench.control.plan(fail="no pictures")
    assert bench.run(["dog"], model="pets").state == TaskState.FAILED
    running = bench.post(["cow"], model="pets")
    with write_session(bench.engine) as session:
        held = claim(session, running, "worker-1", 30.0)
        assert held is not None
        enter(session, held, TaskState.TRAINING)
        report(session, held, PROGRESS, epoch_end=True)
    bench.post(["car"], model="pets")
    write_restarts(bench.settings.restarts_file, worker=1, api=1)


@pytest.fixture
def told(
    settings: Settings,
    engine: Engine,
    blobs: BlobStore,
    register: Register,
    control: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Samples]:
    """What `/metrics` of `sats serve` tells once pictures were segmented and tasks ran."""
    monkeypatch.setenv(SUPERVISED, "1")
    control.plan()
    register()
    app = create_app(settings)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        assert client.post("/segment", **as_files(encoded(left_red_right_green()))).is_success
        train(Bench(settings, engine, blobs, control), client)
        client.get("/health/ready")
        yield samples(client) | {UP: 1.0}


def faults(asked: Expression, told: Samples) -> list[str]:
    """What an expression asks for that is not told, and what is wrong with it."""
    wrong = [] if asked.selectors else ["it asks for nothing"]
    for name, patterns in asked.selectors:
        labelled = [dict(labels) for found, *labels in told if found == name]
        wrong += _unknown(asked, name, patterns, labelled) if labelled else [f"{name} is not told"]
        if "histogram_quantile" in asked.text and not name.endswith("_bucket"):
            wrong.append(f"{name} is no histogram's")
    if asked.grouped and asked.shown - asked.grouped:
        wrong.append(f"{sorted(asked.shown - asked.grouped)} is shown and summed away")
    try:
        promql_parser.parse(asked.text.replace("$__rate_interval", "1m"))
    except ValueError as error:
        wrong.append(f"it cannot be parsed: {error}")
    return wrong


def _unknown(
    asked: Expression, name: str, patterns: dict[str, str], labelled: list[dict[str, str]]
) -> list[str]:
    """Labels, and values of them, that no sample of this name has."""
    strange = (patterns.keys() | asked.grouped | asked.shown) - ADDED.union(*labelled)
    wrong = [f"{name} has no label {sorted(strange)}"] if strange else []
    for label, pattern in patterns.items():
        if label in ADDED:
            continue
        values = {labels.get(label, "") for labels in labelled}
        wrong += [
            f"{name} has no {label} {one}, but {sorted(values)}"
            for one in pattern.split("|")
            if not any(re.fullmatch(one, value) for value in values)
        ]
    return wrong


def test_every_expression_asks_for_what_is_told(told: Samples) -> None:
    asked = list(expressions())
    assert len(asked) > 40
    found = {(one.where, one.text): wrong for one in asked if (wrong := faults(one, told))}
    assert found == {}


@pytest.mark.parametrize(
    ("text", "shown", "fault"),
    [
        ("sats_task", "", "sats_task is not told"),
        ("sum by (colour) (sats_tasks)", "", "sats_tasks has no label ['colour']"),
        ('sats_tasks{model="pets"}', "", "sats_tasks has no label ['model']"),
        ('sats_tasks{state=~"queued|gone"}', "", "sats_tasks has no state gone, but"),
        ("sum by (instance) (sats_tasks)", "state", "['state'] is shown and summed away"),
        ("histogram_quantile(0.5, sats_tasks)", "", "sats_tasks is no histogram's"),
        ("sum(sats_tasks", "", "it cannot be parsed: "),
        ("1", "", "it asks for nothing"),
    ],
)
def test_what_is_not_told_is_noticed(text: str, shown: str, fault: str, database_url: str) -> None:
    told: Samples = {("sats_tasks", ("state", "queued")): 1.0}
    wrong = faults(Expression("here", text, frozenset(shown.split())), told)
    assert any(one.startswith(fault) for one in wrong), wrong


def test_the_dashboard_can_be_provisioned(database_url: str) -> None:
    made = dashboard()
    assert made["schemaVersion"] >= 38  # Grafana 10
    assert made["uid"] == "sats"
    assert "id" not in made
    names = [variable["name"] for variable in made["templating"]["list"]]
    assert names == ["datasource", "model"]
    ids = [panel["id"] for panel in made["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        uids = {panel["datasource"]["uid"], *(t["datasource"]["uid"] for t in panel["targets"])}
        assert uids == {"${datasource}"}, panel["title"]


def test_no_panel_lies_on_another(database_url: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_prometheus_reads_the_alerts_and_the_service(database_url: str) -> None:
    scraped = yaml.safe_load(PROMETHEUS.read_text())
    assert [PROMETHEUS.parent / file for file in scraped["rule_files"]] == [ALERTS]
    (job,) = scraped["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("sats", "/metrics")
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
