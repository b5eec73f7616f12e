"""What MLflow is told, in names that it can write; and when it is asked again."""

import posixpath
import re
from datetime import UTC, datetime

from app.db import Model, Version
from app.integrations.mlflow.describing import describe
from app.integrations.mlflow.mirroring import wait_after
from sats_core.evaluation.scores import Scores

ODD = ["background", ".", "..", "a/b", "a_b", "A_B", "Straße (nass)", "x" * 200, "日本", "50 %"]


def version() -> Version:
    scores = Scores(
        iou=dict.fromkeys(ODD, 0.5) | {"50 %": None},
        introduced={},
        forgetting={".": 0.1},
        miou_old=None,
        miou_new=0.5,
        miou_all=0.5,
        mean_forgetting=None,
        pixel_accuracy=0.9,
        pictures=2,
    )
    return Version(
        model=Model(name="default"),
        number=3,
        task_id="t",
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        classes=[{"name": name} for name in ODD],
        new_classes=ODD[1:],
        settings={"method": "sats", "method_settings": {"t_c": {"least": 0.001}}, "epochs": None},
        backbone_start="x" * 7000,
        scores=scores.model_dump(),
        files={"model.onnx": {"blob": "ab"}},
    )


def test_every_class_has_a_metric_of_its_own_that_mlflow_takes() -> None:
    told = describe(version(), 2)
    ious = [key for key in told.metrics if key.startswith("iou/")]
    assert len({key.casefold() for key in ious}) == len(ODD) - 1, "one was not measured"
    for key in told.metrics:
        assert re.fullmatch(r"[/\w.\- :]*", key)  # as MLflow checks it
        assert posixpath.normpath(key) == key
        assert len(key) <= 250
    assert "miou_old" not in told.metrics


def test_settings_are_parameters_nested_ones_by_their_paths() -> None:
    told = describe(version(), 2)
    assert told.params["method_settings.t_c.least"] == "0.001"
    assert told.params["epochs"] == "None"
    assert len(told.params["backbone_start"]) == 6000
    assert told.tags["sats.parent"] == "2"
    assert told.at == 1767312000000


def test_waits_grow_and_have_an_end() -> None:
    assert [wait_after(tries) for tries in (0, 1, 2, 99)] == [20, 40, 80, 600]
