"""Checkpoints from strangers: imported, or refused with what is wrong and where."""

import json
import shutil
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from sats_core.errors import ModelError
from sats_core.segformer.importing import Imported, import_directory
from sats_core.segformer.layout import MAX_HEADER_BYTES
from sats_core.segformer.strict_json import read_object
from tests.fixtures.segformer import change, random_segformer

LABELS = ["background", "cat", "dog"]
WEIGHTS = "model.safetensors"
BIAS, VARIANCE = "decode_head.classifier.bias", "decode_head.batch_norm.running_var"
SECONDS = 20
few = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    random_segformer(folder, LABELS, width=32)
    return folder


@pytest.fixture(scope="module")
def tensors(good: Path) -> dict[str, Tensor]:
    return load_file(good / WEIGHTS)


def copied(good: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(good, folder))


def imported(folder: Path, pickle: bool = False) -> Imported | ModelError:
    """Import; the only thing that may be raised is an error that names a file or a tensor."""
    began = time.process_time()
    found: Imported | ModelError
    try:
        found = import_directory(folder, None, None, pickle)
    except ModelError as error:
        found = error
    assert time.process_time() - began < SECONDS
    if isinstance(found, ModelError):
        said = str(found)
        named = ("config.json", ".safetensors", ".bin", "the weights", "checkpoint")
        assert any(word in said for word in named), said
        assert str(folder) not in said
        assert len(said) < 2000
    return found


def refusal(folder: Path, pickle: bool = False) -> str:
    found = imported(folder, pickle)
    assert isinstance(found, ModelError)
    return str(found)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (BIAS, torch.zeros(3, dtype=torch.complex64), "a type that is not read in " + BIAS),
        (BIAS, torch.zeros(3, dtype=torch.bool), "a type that is not read in " + BIAS),
        (BIAS, torch.zeros(3, dtype=torch.float8_e4m3fn), "a type that is not read in " + BIAS),
        (BIAS, torch.full((3,), torch.inf), "no finite numbers in " + BIAS),
        (BIAS, torch.full((3,), 1e300, dtype=torch.float64), "no finite numbers in " + BIAS),
        (BIAS, torch.zeros(()), "do not fit config.json: " + BIAS),
        (BIAS, torch.zeros(0), "do not fit config.json: " + BIAS),
        (BIAS, torch.zeros(3, 1), "do not fit config.json: " + BIAS),
        (VARIANCE, torch.full((32,), -1.0), "variances below 0 in " + VARIANCE),
        ("x" * 5000, torch.zeros(1), "what a SegFormer has not"),
        ("\u202e\n\0", torch.zeros(1), "what a SegFormer has not"),
    ],
)
def test_each_wrong_tensor_is_named(
    good: Path,
    tensors: dict[str, Tensor],
    tmp_path: Path,
    name: str,
    tensor: Tensor,
    message: str,
) -> None:
    folder = copied(good, tmp_path)
    save_file({**tensors, name: tensor}, folder / WEIGHTS)
    said = refusal(folder)
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, device="meta"),
        torch.zeros(3).to_sparse(),
    ],
)
def test_a_pickle_may_hold_tensors_without_numbers(
    good: Path, tensors: dict[str, Tensor], tmp_path: Path, tensor: Tensor
) -> None:
    folder = copied(good, tmp_path)
    (folder / WEIGHTS).unlink()
    torch.save({**tensors, BIAS: tensor}, folder / "pytorch_model.bin")
    assert "pytorch_model.bin" in (said := refusal(folder, pickle=True)) or BIAS in said


def header(listed: Any, length: int | None = None) -> bytes:
    """Return a safetensors file without tensors: its header, and a length that may lie."""
    text = listed if isinstance(listed, bytes) else json.dumps(listed).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


TENSOR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 8,
        header({}, 2**63),
        header({}, 2**64 - 1),
        header({}, 1000),
        header(b"[" * 100_000),
        header(b'{"a":' * 50_000),
        header({"a": TENSOR}),
        header({"a": {**TENSOR, "shape": [2**40, 2**40]}}) + bytes(4),
        header({"a": {**TENSOR, "shape": [-1]}}) + bytes(4),
        header({"a": {**TENSOR, "dtype": "U128"}}) + bytes(4),
        header({"a": {**TENSOR, "data_offsets": [4, 0]}}) + bytes(4),
        header({"a": TENSOR, "b": TENSOR}) + bytes(4),
        header({"a": TENSOR, "__metadata__": {"format": "x" * 100_000}}) + bytes(4),
        header({f"layer.{n}": TENSOR for n in range(20_000)}) + bytes(4),
    ],
    ids=range(15),
)
def test_any_header_is_refused(good: Path, tmp_path: Path, data: bytes) -> None:
    folder = copied(good, tmp_path)
    (folder / WEIGHTS).write_bytes(data)
    refusal(folder)


def test_a_large_header_is_refused_before_it_is_read(good: Path, tmp_path: Path) -> None:
    folder = copied(good, tmp_path)
    (folder / WEIGHTS).write_bytes(header(b" " * (MAX_HEADER_BYTES + 1)))
    assert "its header has more than" in refusal(folder)


@few
@given(damage=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), max_size=4))
def test_a_damaged_header(good: Path, tmp_path: Path, damage: list[tuple[float, int]]) -> None:
    folder = copied(good, tmp_path)
    raw = bytearray((folder / WEIGHTS).read_bytes())
    length = 8 + int.from_bytes(raw[:8], "little")
    for place, value in damage:
        raw[int(place * length)] = value
    (folder / WEIGHTS).write_bytes(raw)
    imported(folder)


@few
@given(
    table=st.dictionaries(
        st.sampled_from(["0", "1", "2", "3", "-1", "01", "١", "x"]) | st.text(max_size=3),
        st.sampled_from(["background", "cat", "dog", "", " ", "\0", "x" * 300, "\ud800", 1, None])
        | st.text(max_size=5),
        max_size=5,
    )
)
def test_a_lying_id2label(good: Path, tmp_path: Path, table: dict[str, Any]) -> None:
    folder = copied(good, tmp_path)
    change(folder / "config.json", id2label=table)
    found = imported(folder)
    if isinstance(found, Imported):
        assert sorted(found.checkpoint.labels) == sorted(name.strip() for name in table.values())


@pytest.mark.parametrize("count", [2, 4, 150])
def test_more_or_fewer_labels_than_rows(good: Path, tmp_path: Path, count: int) -> None:
    folder = copied(good, tmp_path)
    change(folder / "config.json", id2label={str(n): f"class {n}" for n in range(count)})
    said = refusal(folder)
    assert f"{BIAS} [3] instead of [{count}]" in said


@pytest.mark.parametrize("lost", ["one shard", "a tensor", "a shard twice"])
def test_shards(good: Path, tensors: dict[str, Tensor], tmp_path: Path, lost: str) -> None:
    folder = copied(good, tmp_path)
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    table = {name: file for file, inside in parts.items() for name in inside}
    if lost == "a tensor":
        parts["model-2.safetensors"] = names[1::2][:-1]
    if lost == "a shard twice":
        parts["model-2.safetensors"] = names
    for file, inside in parts.items():
        save_file({name: tensors[name] for name in inside}, folder / file)
    if lost == "one shard":
        (folder / "model-2.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    expected = {
        "one shard": "no such file: model-2.safetensors",
        "a tensor": f"the weights lack {names[1::2][-1]}",
        "a shard twice": "is in another shard too",
    }
    assert expected[lost] in refusal(folder)


def test_a_key_twice_is_found_at_once_among_very_many() -> None:
    keys = ",".join(f'"{number:x}":1' for number in range(80_000))
    began = time.process_time()
    with pytest.raises(ModelError, match="the key 'last' is there twice"):
        read_object(f'{{{keys},"last":1,"last":2}}'.encode(), "config.json", 2**20)
    assert time.process_time() - began < SECONDS
