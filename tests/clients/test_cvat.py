"""Labels for CVAT by a model of a real service, through cvat-sdk's own loader and checks."""

import logging
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sats_client import NotFound
from tests.app.inference.colour_graph import BLUE, CLASSES, GREEN, RED
from tests.app.segmentation.requests import left_red_right_green

pytest.importorskip("cvat_cli", reason='needs cvat-cli: pip install "sats-client[cvat]"')

import attrs
import cvat_cli.__main__ as cvat_cli
import cvat_sdk.auto_annotation.driver as cvat_driver
import cvat_sdk.models as cvat_models
from cvat_cli._internal.common import FunctionLoader
from cvat_cli._internal.parsers import parse_function_parameter
from cvat_cli._internal.utils import popattr
from cvat_sdk.auto_annotation.driver import _AnnotationMapper, _DetectionFunctionContextImpl
from cvat_sdk.core.auth import ClientAuthParameters
from cvat_sdk.masks import decode_mask

import sats_client.cvat as cvat_module

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def load(served):
    """Load the function as `cvat-cli task auto-annotate -p ...` does."""

    def loaded(*words: str) -> Any:
        given = dict(map(parse_function_parameter, (f"url=str:{served.base_url}", *words)))
        function = FunctionLoader("sats_client.cvat", None, given).load()
        made.append(function)
        return function

    made: list[Any] = []
    yield loaded
    for function in made:
        function._client.close()


def shapes(function: Any, image: Image.Image, **context: Any) -> list[Any]:
    """What would be uploaded to a CVAT task that has these labels, after the driver's checks."""
    labels = [
        SimpleNamespace(id=100 + one.id, name=one.name, type="any", attributes=[], sublabels=[])
        for one in function.spec.labels
    ]
    mapper = _AnnotationMapper(
        logging.getLogger("test"),
        function.spec.labels,
        labels,
        allow_unmatched_labels=False,
        conv_mask_to_poly=context.get("conv_mask_to_poly", False),
    )
    asked = _DetectionFunctionContextImpl(frame_name="a.png", **context)
    _tags, found = mapper.validate_and_remap(function.detect(asked, image), 7)
    assert all(isinstance(one, cvat_models.LabeledShapeRequest) for one in found)
    assert {one.frame for one in found} <= {7}
    return found


def test_labels_are_the_classes_without_background(load, register) -> None:
    register()
    function = load()
    assert [(one.name, one.id) for one in function.spec.labels] == [
        ("red", RED.index),
        ("green", GREEN.index),
        ("blue", BLUE.index),
    ]


def test_a_mask_for_each_class_that_is_shown(load, register) -> None:
    register()
    found = shapes(load(), left_red_right_green())
    assert [(one.label_id, one.type.value) for one in found] == [(101, "mask"), (102, "mask")]
    for one, columns in zip(found, (slice(0, 32), slice(32, 64)), strict=True):
        expected = np.zeros((32, 64), bool)
        expected[:, columns] = True
        decoded = decode_mask(one.points, image_width=64, image_height=32)
        np.testing.assert_array_equal(decoded, expected)


def test_polygons_where_they_are_asked_for(load, register) -> None:
    register()
    found = shapes(load(), left_red_right_green(), conv_mask_to_poly=True)
    assert [(one.label_id, one.type.value) for one in found] == [(101, "polygon"), (102, "polygon")]
    for one, left in zip(found, (0, 32), strict=True):
        points = np.array(one.points).reshape(-1, 2)
        assert len(points) == 4, "closed without saying the first point twice"
        assert points.min(axis=0).tolist() == [left, 0]
        assert points.max(axis=0).tolist() == [left + 32, 32]


def test_what_is_not_sure_enough_is_left_out(load, register) -> None:
    register()
    dull = Image.new("RGB", (64, 32), (128, 128, 1))  # between red and green
    dull.paste(RED.colour, (0, 0, 16, 32))
    sure = shapes(load(), dull, conf_threshold=0.99)
    assert [one.label_id for one in sure] == [101]
    assert len(shapes(load(), dull)) > len(sure)
    black = Image.new("RGB", (64, 32))
    assert shapes(load(), black, conf_threshold=0.5) == []


def test_the_version_that_is_asked_stays_the_same(load, register) -> None:
    register(CLASSES[:2])
    function = load()
    register()
    assert [one.label_id for one in shapes(function, left_red_right_green())] == [101]
    chosen = load("version=int:2", "classes=str:green,blue", "size=int:64")
    assert [one.label_id for one in shapes(chosen, left_red_right_green())] == [102]


def test_a_model_that_is_not_there_ends_it_before_the_first_picture(load, register) -> None:
    register()
    with pytest.raises(NotFound, match="nobody"):
        load("model=str:nobody")


Annotate = Callable[..., list[Any]]


@pytest.fixture
def annotate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Annotate]:
    """Run cvat-cli as a shell does, on a task of one picture; returns the shapes it uploads.

    All of it is CVAT's own but its server: who logs in there, and what the task holds.
    """
    uploaded: list[tuple[int, Any]] = []
    made: list[Any] = []

    def kept(**parameters: Any) -> Any:
        made.append(create(**parameters))
        return made[-1]

    def upload(_action: str, task: int, *, patched_labeled_data_request: Any) -> None:
        uploaded.append((task, patched_labeled_data_request.shapes))

    @contextmanager
    def client(parsed_args: Any, logger: logging.Logger) -> Iterator[Any]:
        for field in attrs.fields(ClientAuthParameters):
            popattr(parsed_args, field.name)
        api = SimpleNamespace(partial_update_annotations=upload)
        yield SimpleNamespace(logger=logger, tasks=SimpleNamespace(api=api))

    def run(*words: str, labels: str = "any") -> list[Any]:
        label = SimpleNamespace(id=7, name="green", type=labels, attributes=[], sublabels=[])
        media = SimpleNamespace(load_image=left_red_right_green)
        sample = SimpleNamespace(frame_name="a.png", frame_index=3, media=media)
        held = SimpleNamespace(labels=[label], samples=[sample])
        monkeypatch.setattr(cvat_driver, "TaskDataset", lambda *_, **__: held)
        monkeypatch.setattr(cvat_cli, "build_client", client)
        monkeypatch.setattr(cvat_module, "create", kept)  # which cvat-cli never closes
        assert cvat_cli.main(list(words)) == 0
        ((task, found),) = uploaded
        uploaded.clear()
        assert task == 137
        return list(found)

    create = cvat_module.create
    before = cvat_cli.logger.handlers[:]
    yield run
    cvat_cli.logger.handlers[:] = before
    for function in made:
        function._client.close()


@pytest.mark.parametrize("page", ["from-cvat.md", "python.md"])
def test_the_command_of_a_page_labels_a_task(annotate, served, register, monkeypatch, page) -> None:
    register()
    url = str(served.base_url).rstrip("/")
    monkeypatch.setenv("SATS_URL", url)
    text = (DOCS / page).read_text()
    (command,) = re.findall(r"^\.venv/bin/(cvat-cli (?:.*\\\n)*.*)$", text, re.MULTILINE)
    words = shlex.split(command.replace("\\\n", " ").replace("http://127.0.0.1:8000", url))[1:]
    (found,) = annotate(*words)
    assert (found.label_id, found.frame, found.type.value) == (7, 3, "mask")
    (polygon,) = annotate(*words, "--conv-mask-to-poly", labels="polygon")
    assert (polygon.label_id, polygon.type.value) == (7, "polygon")
