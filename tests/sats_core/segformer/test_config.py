"""Configs from strangers: what is read, and what is refused by name."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sats_core.data.transforms import View
from sats_core.errors import ModelError
from sats_core.segformer.config import OUTER, Checkpoint, read_checkpoint, read_encoder
from sats_core.segformer.variants import DEPTHS, hidden_sizes
from tests.fixtures.examples import examples

CONFIG: dict[str, Any] = {
    "architectures": ["SegformerForSemanticSegmentation"],
    "model_type": "segformer",
    "depths": [3, 4, 6, 3],
    "hidden_sizes": [64, 128, 320, 512],
    "decoder_hidden_size": 768,
    "layer_norm_eps": 1e-6,
    "id2label": {"0": "background", "1": "cat", "2": "dog"},
    "transformers_version": "4.48.0",
}
SHOWN: dict[str, Any] = {"size": {"height": 512, "width": 768}, "image_mean": [0.5, 0.4, 0.3]}


def read(config: object = CONFIG, shown: object = SHOWN) -> Checkpoint:
    return read_checkpoint(as_bytes(config), as_bytes(shown))


def as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def labels(*names: object) -> dict[str, Any]:
    return CONFIG | {"id2label": {str(row): name for row, name in enumerate(names)}}


def test_what_is_read() -> None:
    found = read()
    assert found.encoder.backbone == "mit_b2"
    assert found.encoder.head_width == 768
    assert found.encoder.transformers == "4.48.0"
    assert found.labels == ("background", "cat", "dog")
    assert found.processor.view == View(stretch=(512, 768))
    assert found.processor.mean == (0.5, 0.4, 0.3)
    assert found.processor.std == (0.229, 0.224, 0.225)


HUB = Path(__file__).parents[2] / "fixtures" / "hub"
"""What the hub has of NVIDIA's checkpoints, beside their weights."""


@pytest.mark.parametrize(
    ("name", "labels", "seventh"), [("ade20k", 150, "bed"), ("cityscapes", 19, "traffic sign")]
)
def test_checkpoints_as_the_hub_has_them(name: str, labels: int, seventh: str) -> None:
    folder = HUB / name
    found = read(
        (folder / "config.json").read_bytes(), (folder / "preprocessor_config.json").read_bytes()
    )
    assert found.encoder.backbone == "mit_b0"
    assert found.encoder.labelled
    assert len(found.labels) == labels
    assert found.labels[7] == seventh
    assert len(found.class_order(None).foreground) == labels
    assert found.processor.view == View(stretch=(512, 512))


@pytest.mark.parametrize("name", ["bed ", "\tbed", "bed\r\n"])
def test_white_space_around_a_label_is_no_part_of_it(name: str) -> None:
    found = read(labels("wall", name))
    assert found.labels == ("wall", "bed")
    assert found.class_order(name).background == 1
    assert found.class_order("bed").background == 1


@pytest.mark.parametrize("name", DEPTHS)
def test_every_variant_is_known_by_its_shape(name: str) -> None:
    shape = {"depths": DEPTHS[name], "hidden_sizes": hidden_sizes(name)}
    assert read_encoder(as_bytes(CONFIG | shape)).backbone == name


@pytest.mark.parametrize("architecture", ["SegformerModel", "SegformerForImageClassification"])
def test_an_encoder_is_told_from_a_model(architecture: str) -> None:
    config = CONFIG | {"architectures": [architecture], "id2label": {"0": "lemon\n"}}
    assert not read_encoder(as_bytes(config)).labelled
    with pytest.raises(ModelError, match="an encoder without a decode head"):
        read(config)


class TestBackground:
    def test_label_zero_of_that_name(self) -> None:
        order = read().class_order(None)
        assert (order.background, order.foreground, order.rows) == (0, ("cat", "dog"), (1, 2))

    def test_none_where_no_label_has_the_name(self) -> None:
        order = read(labels("wall", "sky")).class_order(None)
        assert (order.background, order.foreground) == (None, ("wall", "sky"))

    def test_a_named_one_comes_first(self) -> None:
        order = read(labels("sky", "wall", "tree")).class_order("wall")
        assert (order.background, order.foreground, order.rows) == (1, ("sky", "tree"), (0, 2))

    def test_none_by_name(self) -> None:
        assert read(labels("sky", "wall")).class_order("none").background is None

    def test_an_unknown_one_is_named(self) -> None:
        with pytest.raises(ModelError, match=r"no class 'wal' to be the background; .*sky, wall"):
            read(labels("sky", "wall")).class_order("wal")

    @pytest.mark.parametrize("chosen", [None, "none", "sky"])
    def test_a_class_of_that_name_elsewhere(self, chosen: str | None) -> None:
        with pytest.raises(ModelError, match="'Background'"):
            read(labels("sky", "Background")).class_order(chosen)

    def test_nothing_else(self) -> None:
        with pytest.raises(ModelError, match="no class beside the background"):
            read(labels("background")).class_order(None)

    def test_as_many_as_a_mask_holds(self) -> None:
        names = [f"c{i}" for i in range(255)]
        assert len(read(labels(*names)).class_order("c0").foreground) == 254
        with pytest.raises(ModelError, match="255 classes beside the background"):
            read(labels(*names)).class_order(None)
        with pytest.raises(ModelError, match="256 classes"):
            read(labels(*names, "one more"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'"),
        ({"architectures": ["Other"]}, r"architectures is \['Other'\]"),
        ({"architectures": None}, "architectures is None"),
        ({"depths": [1, 2, 3, 4]}, r"depths and hidden_sizes is \(\(1, 2, 3, 4\)"),
        ({"depths": "many"}, "depths"),
        ({"hidden_sizes": [[64], 128, 320, 512]}, "hidden_sizes"),
        ({"sr_ratios": [4, 2, 1, 1]}, r"sr_ratios is \[4, 2, 1, 1\]: must be \[8, 4, 2, 1\]"),
        ({"mlp_ratios": [8, 8, 4, 4]}, "mlp_ratios"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"num_channels": 4}, "num_channels is 4: must be 3"),
        ({"reshape_last_stage": False}, "reshape_last_stage"),
        ({"decoder_hidden_size": 10**9}, "decoder_hidden_size is 1000000000"),
        ({"decoder_hidden_size": True}, "decoder_hidden_size"),
        ({"decoder_hidden_size": 256.0}, "decoder_hidden_size"),
        ({"id2label": None}, "id2label is None"),
        ({"id2label": {}}, "id2label"),
        ({"id2label": ["a", "b"]}, "id2label"),
        ({"id2label": {"0": "a", "2": "b"}}, "2 entries and none for id 1"),
        ({"id2label": {"0": "a", "01": "b"}}, "none for id 1"),
        ({"id2label": {"0": "a", "1": "a"}}, r"id2label\[1\] is 'a': is the name of id 0 too"),
        ({"id2label": {"0": "a", "1": 7}}, r"id2label\[1\] is 7: must be a string"),
        ({"id2label": {"0": "a", "1": "b\na"}}, r"id2label\[1\] is 'b\\na'"),
        ({"id2label": {"0": "a", "1": " a\n"}}, r"id2label\[1\] is 'a': is the name of id 0 too"),
        ({"id2label": {"0": "a", "1": "b\x00"}}, "printable"),
        ({"id2label": {"0": "a", "1": "\ud800"}}, "printable"),
        ({"id2label": {"0": "a", "1": "\u2003b"}}, "no space of another kind around"),
        ({"id2label": {"0": "a", "1": " \t"}}, "1 to 200"),
        ({"id2label": {"0": "a", "1": ""}}, "1 to 200"),
        ({"id2label": {"0": "a", "1": "b" * 201}}, "1 to 200"),
    ],
)
def test_a_config_is_refused_by_key_and_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        read(CONFIG | changes)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": {"shortest_edge": 512}}, "size is"),
        ({"size": {"height": 512}}, "size is"),
        ({"size": {"height": 0, "width": 512}}, "size is"),
        ({"size": {"height": 512.5, "width": 512}}, "size is"),
        ({"size": {"height": 10**6, "width": 10**6}}, "size is"),
        ({"size": {"max_height": 512, "max_width": 256}}, "size is"),
        ({"size": "large"}, "size is 'large'"),
        ({"do_resize": False}, "do_resize is False"),
        ({"do_center_crop": True}, "do_center_crop is True"),
        ({"resample": 3}, "resample is 3"),
        ({"image_mean": [0.5, 0.5]}, "image_mean"),
        ({"image_mean": [0.5, 0.5, "0.5"]}, "image_mean"),
        ({"image_mean": [0.5, 0.5, None]}, "image_mean"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std"),
        ({"image_std": [0.5, 1e300, 0.5]}, "image_std"),
        ({"image_std": [1e-320, 0.5, 0.5]}, "image_std"),
        ({"rescale_factor": 1e-320}, "rescale_factor"),
        ({"rescale_factor": 0}, "rescale_factor"),
        ({"rescale_factor": -1}, "rescale_factor"),
    ],
)
def test_a_processor_is_refused_by_key_and_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"preprocessor_config.json: {message}"):
        read(shown=SHOWN | changes)


@pytest.mark.parametrize(
    ("size", "view"),
    [
        (512, View(stretch=(512, 512))),
        ({"height": 100, "width": 64}, View(stretch=(100, 64))),
        ({"max_height": 256, "max_width": 256}, View(inside=256)),
        ({"height": 64, "width": 64, "longest_edge": None}, View(stretch=(64, 64))),
    ],
)
def test_sizes_of_every_age(size: object, view: View) -> None:
    assert read(shown={"size": size}).processor.view == view


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[1]", "no JSON object"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"a": ' * 50_000 + b"1" + b"}" * 50_000, "cannot be read as JSON"),
        (b'{"model_type": "segformer", "model_type": "segformer"}', "there twice"),
        (b'{"decoder_hidden_size": NaN}', "NaN is no number"),
        (b'{"decoder_hidden_size": -Infinity}', "-Infinity is no number"),
        (b'{"decoder_hidden_size": ' + b"9" * 10_000 + b"}", "cannot be read as JSON"),
        (b" " * (2**20 + 1), "larger than 1048576 bytes"),
    ],
)
def test_what_is_no_config(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(data)
    with pytest.raises(ModelError):
        read(CONFIG, data)


def test_a_missing_processor_is_said() -> None:
    with pytest.raises(ModelError, match=r"preprocessor_config.json is missing"):
        read_checkpoint(as_bytes(CONFIG), None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@settings(max_examples=examples(300), deadline=None)
@given(
    key=st.sampled_from([*CONFIG, *SHOWN, "sr_ratios", "resample", "image_std", "rescale_factor"]),
    value=JSON,
)
def test_whatever_a_key_says_it_is_read_or_refused(key: str, value: object) -> None:
    try:
        found = read(CONFIG | {key: value}, SHOWN | {key: value})
        order = found.class_order(None)
    except ModelError:
        return
    assert len(order.foreground) == len(order.rows)
    assert set(order.foreground) <= set(found.labels)


@settings(max_examples=examples(200), deadline=None)
@given(
    names=st.lists(st.text(max_size=12) | st.none() | st.integers(), max_size=12),
    chosen=st.none() | st.text(max_size=12),
)
def test_whatever_labels_are_called(names: list[Any], chosen: str | None) -> None:
    try:
        found = read(labels(*names))
        order = found.class_order(chosen)
    except ModelError:
        return
    assert found.labels == tuple(name.strip(OUTER) for name in names)
    rows = [row for row in (order.background, *order.rows) if row is not None]
    assert sorted(rows) == list(range(len(names)))


@given(st.binary(max_size=200))
def test_bytes_that_are_anything(data: bytes) -> None:
    with pytest.raises(ModelError):
        read(data)


def test_reading_a_config_loads_no_torch() -> None:
    code = (
        "import sys, sats_core.segformer.config, sats_core.segformer.unpacking, "
        "sats_core.segformer.exporting, sats_core.version_config; "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
