"""The Open Inference Protocol as `tritonclient` speaks it, over a real port."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from app.db import write_session
from app.keys.secret import read_secret
from app.keys.service import KeyLimits, Scope, create_key
from app.settings import Settings
from tests.app.inference.colour_graph import CLASSES, GREEN, RED
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import encoded, left_red_right_green

PICTURE = np.array(left_red_right_green())


@pytest.fixture
def triton(served: httpx.Client) -> Iterator[InferenceServerClient]:
    """The real client of a service on a real port."""
    with InferenceServerClient(served.base_url.netloc.decode()) as client:
        yield client


def image_of(pictures: np.ndarray, *, binary: bool = True) -> InferInput:
    tensor = InferInput("image", list(pictures.shape), "UINT8")
    return tensor.set_data_from_numpy(pictures, binary_data=binary)


def files_of(*files: bytes, column: bool = False) -> InferInput:
    elements = np.array([*files, None], dtype=np.object_)[:-1]
    if column:
        elements = elements[:, None]
    return InferInput("encoded", list(elements.shape), "BYTES").set_data_from_numpy(elements)


def mask_of_segment(client: httpx.Client, data: bytes) -> np.ndarray:
    answer = client.post("/segment", content=data, headers={"Accept": "application/x-npz"})
    assert answer.status_code == 200, answer.text
    from io import BytesIO

    return np.load(BytesIO(answer.content))


def test_the_server_says_what_it_is(triton: InferenceServerClient, register: Register) -> None:
    register()
    assert triton.is_server_live()
    assert triton.is_server_ready()
    said = triton.get_server_metadata()
    assert (said["name"], said["extensions"]) == ("sats", ["binary_tensor_data"])


def test_a_model_says_what_it_takes(triton: InferenceServerClient, register: Register) -> None:
    register()
    register(CLASSES[:3], live=False)
    for version in ("", "1", "2"):
        said = triton.get_model_metadata("default", version)
        assert (said["name"], said["versions"]) == ("default", ["1", "2"])
        assert [one["name"] for one in said["inputs"]] == ["image", "encoded"]
        assert [one["name"] for one in said["outputs"]] == ["mask", "score"]
        assert triton.is_model_ready("default", version)
    assert not triton.is_model_ready("default", "3")
    assert not triton.is_model_ready("other")
    for model, version in (("other", ""), ("default", "3")):
        with pytest.raises(InferenceServerException, match="no") as refused:
            triton.get_model_metadata(model, version)
        assert refused.value.status() == "404"


@pytest.mark.parametrize("binary", [True, False])
def test_masks_are_those_of_segment(
    triton: InferenceServerClient, served: httpx.Client, register: Register, binary: bool
) -> None:
    register()
    expected = mask_of_segment(served, encoded(left_red_right_green()))
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in ("mask", "score")]
    one = triton.infer("default", [image_of(PICTURE, binary=binary)], outputs=outputs)
    two = triton.infer("default", [image_of(np.stack([PICTURE[:, ::-1], PICTURE]))], request_id="7")
    np.testing.assert_array_equal(one.as_numpy("mask"), expected["labels"][None])
    np.testing.assert_allclose(one.as_numpy("score"), expected["scores"][None], atol=1e-3)
    assert one.as_numpy("score").dtype == np.float32
    np.testing.assert_array_equal(two.as_numpy("mask")[1], expected["labels"])
    assert two.as_numpy("mask").shape == (2, 32, 64)
    assert two.as_numpy("score") is None  # nobody asked for it
    said = two.get_response()
    assert (said["model_name"], said["model_version"], said["id"]) == ("default", "1", "7")


def test_files_are_read_as_segment_reads_them(
    triton: InferenceServerClient, served: httpx.Client, register: Register
) -> None:
    register()
    turned = Image.Exif()
    turned[0x0112] = 6  # lies on its side
    picture = left_red_right_green(50, 20)
    files = [encoded(picture, "JPEG", quality=95, exif=turned)] * 2
    expected = mask_of_segment(served, files[0])["labels"]
    assert expected.shape == (50, 20)
    for column in (False, True):
        mask = triton.infer("default", [files_of(*files, column=column)]).as_numpy("mask")
        np.testing.assert_array_equal(mask, np.stack([expected] * 2))


def test_pictures_of_other_sizes_go_one_by_one(
    triton: InferenceServerClient, register: Register
) -> None:
    register()
    files = [encoded(left_red_right_green(*size)) for size in ((64, 32), (32, 64))]
    with pytest.raises(InferenceServerException, match="one size, not of 64 x 32, 32 x 64") as no:
        triton.infer("default", [files_of(*files)])
    assert no.value.status() == "400"


def test_versions_and_several_requests_at_once(
    triton: InferenceServerClient, register: Register
) -> None:
    register()
    register(CLASSES[:2], model="street")
    asked = [triton.async_infer("default", [image_of(PICTURE)], model_version="1")]
    asked += [triton.async_infer("street", [image_of(PICTURE)])]
    first, second = (one.get_result() for one in asked)
    assert set(np.unique(first.as_numpy("mask"))) == {RED.index, GREEN.index}
    assert GREEN.index not in second.as_numpy("mask")
    assert second.get_response()["model_name"] == "street"


Ask = Callable[[InferenceServerClient], Any]


@pytest.mark.parametrize(
    ("ask", "status", "told"),
    [
        (lambda c: c.infer("default", [image_of(PICTURE[..., :2])]), "400", "shape"),
        (lambda c: c.infer("default", [files_of(b"no picture")]), "400", "encoded.0: not a pict"),
        (lambda c: c.infer("default", [files_of()]), "400", "shape"),
        (lambda c: c.infer("default", [image_of(PICTURE)] * 2), "400", "at most 1"),
        (lambda c: c.infer("nobody", [image_of(PICTURE)]), "404", "no model 'nobody'"),
        (lambda c: c.infer("default", [image_of(PICTURE)], model_version="9"), "404", "version 9"),
        (lambda c: c.infer("default", [image_of(PICTURE)], model_version="x"), "400", "integer"),
        (
            lambda c: c.infer("default", [image_of(PICTURE)], request_compression_algorithm="gzip"),
            "400",
            "compressed",
        ),
        (
            lambda c: c.infer("default", [image_of(np.zeros((17, 1, 1, 3), np.uint8))]),
            "413",
            "17 pictures",
        ),
        (
            lambda c: c.infer(
                "default",
                [image_of(PICTURE)],
                outputs=[InferRequestedOutput("mask", class_count=2)],
            ),
            "400",
            "classification",
        ),
        (lambda c: c.get_model_config("default"), "404", "Not Found"),
    ],
)
def test_refusals_have_the_protocol_s_form(
    triton: InferenceServerClient, register: Register, ask: Ask, status: str, told: str
) -> None:
    register()
    with pytest.raises(InferenceServerException) as refused:
        ask(triton)
    assert refused.value.status() == status
    assert told in refused.value.message()


def test_keys_hold_as_for_segment(
    triton: InferenceServerClient, register: Register, engine: Engine, settings: Settings
) -> None:
    register()
    register(model="street")
    secret = read_secret(settings)
    with write_session(engine) as session:
        limits = KeyLimits(pictures_per_minute=3)
        bound = create_key(session, secret, "b", [Scope.SEGMENT], models=["street"], limits=limits)
        other = create_key(session, secret, "o", [Scope.SUBMIT])
    assert triton.is_server_ready()  # for whoever watches it

    def status(key: str | None, model: str, pictures: int = 1) -> str:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        many = image_of(np.stack([PICTURE] * pictures))
        try:
            triton.infer(model, [many], headers=headers)
        except InferenceServerException as error:
            return str(error.status())
        return "200"

    assert status(None, "street") == "401"
    assert status(other, "street") == "403"
    assert status(bound, "default") == "403"
    assert status(bound, "street", 2) == "200"
    assert status(bound, "street", 2) == "429"
    assert not triton.is_model_ready("street")
    assert triton.is_model_ready("street", headers={"Authorization": f"Bearer {bound}"})
