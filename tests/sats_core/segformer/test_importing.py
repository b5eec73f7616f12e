"""In, out and in again, against the real transformers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from sats_core.data.transforms import View
from sats_core.errors import ModelError
from sats_core.evaluation.predict import model_input, predict
from sats_core.models import Segmenter, seeded_backbone
from sats_core.segformer import names
from sats_core.segformer.config import ClassOrder
from sats_core.segformer.importing import Imported, import_directory, with_background
from sats_core.segformer.weights import renamed, to_hub
from tests.fixtures.examples import examples
from tests.fixtures.segformer import (
    AutoImageProcessor,
    change,
    logits,
    picture,
    random_segformer,
    reloaded,
)

PIXELS = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def numbered(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


def imported(folder: Path, background: str | None = None, pickle: bool = False) -> Imported:
    return import_directory(folder, background, None, pickle)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_background_at_zero(tmp_path: Path) -> None:
    source = random_segformer(tmp_path, ["background", "cat", "dog"])
    found = imported(tmp_path)
    assert found.background == "background"
    assert found.catalogue.names == ("background", "cat", "dog")
    assert [c.index for c in found.catalogue.classes] == [0, 1, 2]
    assert not found.model.training
    assert_close(logits(found.model, PIXELS), logits(source, PIXELS))


def test_without_a_background_and_with_the_names_of_transformers_5(tmp_path: Path) -> None:
    source = random_segformer(
        tmp_path, numbered(19), "mit_b1", width=96, save_original_format=False
    )
    tensors = load_file(tmp_path / "model.safetensors")
    assert any("q_proj" in name for name in tensors), "the new names are what this is about"
    found = imported(tmp_path)
    assert found.background is None
    assert found.model.head.width == 96
    assert found.catalogue.foreground == tuple(numbered(19))
    ours = logits(found.model, PIXELS)
    assert_close(ours[:, 1:], logits(source, PIXELS))
    assert (ours.argmax(dim=1) > 0).all()


def test_a_chosen_background_comes_first(tmp_path: Path) -> None:
    source = random_segformer(tmp_path, numbered(150), "mit_b2", width=768, max_shard_size="20MB")
    shards = list(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2, "shards are what this is about"
    found = imported(tmp_path, background="class 2")
    assert found.background == "class 2"
    assert found.catalogue.names[:4] == ("background", "class 0", "class 1", "class 3")
    order = [2, 0, 1, *range(3, 150)]
    assert_close(logits(found.model, PIXELS), logits(source, PIXELS)[:, order])


def test_out_and_in_again(tmp_path: Path) -> None:
    source = random_segformer(tmp_path / "in", ["background", *numbered(2)])
    found = imported(tmp_path / "in")
    (tmp_path / "out").mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / "out" / name).write_bytes((tmp_path / "in" / name).read_bytes())
    tensors = to_hub(found.model.state_dict())
    save_file(tensors, tmp_path / "out" / "model.safetensors", {"format": "pt"})
    before = load_file(tmp_path / "in" / "model.safetensors")
    assert tensors.keys() == before.keys()
    assert all(torch.equal(tensors[name], before[name]) for name in tensors)
    assert torch.equal(logits(reloaded(tmp_path / "out"), PIXELS), logits(source, PIXELS))
    again = imported(tmp_path / "out")
    assert torch.equal(logits(again.model, PIXELS), logits(found.model, PIXELS))
    assert again.catalogue == found.catalogue


@pytest.mark.parametrize("sharded", [False, True])
def test_a_pickle_is_opened_only_when_allowed(tmp_path: Path, sharded: bool) -> None:
    source = random_segformer(tmp_path, ["background", "cat", "dog"])
    safe = tmp_path / "model.safetensors"
    tensors = load_file(safe)
    safe.unlink()
    if sharded:
        half = sorted(tensors)[: len(tensors) // 2]
        shards = {"pytorch_model-1.bin": half, "pytorch_model-2.bin": tensors.keys() - set(half)}
        for name, inside in shards.items():
            torch.save({key: tensors[key] for key in inside}, tmp_path / name)
        table = {key: name for name, inside in shards.items() for key in inside}
        index = tmp_path / "pytorch_model.bin.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": table}))
    else:
        torch.save(tensors, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="is a pickle and not opened without being told to"):
        imported(tmp_path)
    assert_close(logits(imported(tmp_path, pickle=True).model, PIXELS), logits(source, PIXELS))


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_pickle_of_something_else(tmp_path: Path) -> None:
    random_segformer(tmp_path, ["background", "cat", "dog"])
    (tmp_path / "model.safetensors").unlink()
    mark = tmp_path / "it was run"
    for content in ({"weights": Bomb(mark)}, {"a": 1}, [torch.zeros(1)]):
        torch.save(content, tmp_path / "pytorch_model.bin")
        with pytest.raises(ModelError, match="holds something else than tensors"):
            imported(tmp_path, pickle=True)
        assert not mark.exists()


def test_half_precision_is_read(tmp_path: Path) -> None:
    source = random_segformer(tmp_path, ["background", "cat", "dog"])
    file = tmp_path / "model.safetensors"
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in load_file(file).items()}, file
    )
    found = imported(tmp_path)
    assert {p.dtype for p in found.model.parameters()} == {torch.float32}
    torch.testing.assert_close(
        logits(found.model, PIXELS), logits(source, PIXELS), rtol=0.02, atol=0.05
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("lacks", "the weights lack decode_head.linear_fuse.weight"),
        ("more", "what a SegFormer has not: surprise"),
        ("shape", r"decode_head.classifier.bias \[2\] instead of \[3\]"),
        ("nan", "no finite numbers in decode_head.classifier.bias"),
        ("twice", "twice, by both sets of names"),
        ("truncated", "model.safetensors cannot be read"),
        ("gone", "has no model.safetensors"),
    ],
)
def test_wrong_weights_are_named(tmp_path: Path, damage: str, message: str) -> None:
    random_segformer(tmp_path, ["background", "cat", "dog"])
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    bias = "decode_head.classifier.bias"
    match damage:
        case "lacks":
            del tensors["decode_head.linear_fuse.weight"]
        case "more":
            tensors["surprise"] = torch.zeros(1)
        case "shape":
            tensors[bias] = torch.zeros(2)
        case "nan":
            tensors[bias] = torch.tensor([0.0, torch.nan, 0.0])
        case "twice":
            tensors["segformer.stages.0.layer_norm.bias"] = torch.zeros(32)
    save_file(tensors, file)
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-10])
    if damage == "gone":
        file.unlink()
    with pytest.raises(ModelError, match=message):
        imported(tmp_path)


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("../model-1.safetensors", "is no file of this directory"),
        ("/etc/passwd", "is no file of this directory"),
        ("model-1.bin", "is no file of this directory"),
        ("a\nb.safetensors", "is no file of this directory"),
        (7, "is no file of this directory"),
        ("model-9.safetensors", "no such file: model-9.safetensors"),
    ],
)
def test_an_index_names_files_of_the_directory_only(
    tmp_path: Path, shard: object, message: str
) -> None:
    random_segformer(tmp_path / "in", ["background", "cat", "dog"])
    file = tmp_path / "in" / "model.safetensors"
    file.rename(tmp_path / "model-1.safetensors")
    index = tmp_path / "in" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ModelError, match=message):
        imported(tmp_path / "in")


def test_the_epsilon_that_a_config_says_changes_nothing(tmp_path: Path) -> None:
    source = random_segformer(tmp_path, ["background", "cat", "dog"])
    before = logits(imported(tmp_path).model, PIXELS)
    change(tmp_path / "config.json", layer_norm_eps=0.5)
    assert torch.equal(logits(imported(tmp_path).model, PIXELS), before)
    assert torch.equal(logits(reloaded(tmp_path), PIXELS), logits(source, PIXELS))


def test_every_name_is_renamed_back_and_forth() -> None:
    ours = Segmenter(seeded_backbone("mit_b0", 0), [3]).state_dict()
    theirs = to_hub(ours)
    assert all(name.startswith(("segformer.encoder.", "decode_head.")) for name in theirs)
    assert renamed(theirs).keys() == theirs.keys()
    bare = {name.removeprefix("segformer."): tensor for name, tensor in theirs.items()}
    assert renamed(bare).keys() == theirs.keys()


def test_pictures_are_seen_as_its_own_processor_shows_them(tmp_path: Path) -> None:
    random_segformer(tmp_path, ["background", "cat", "dog"], size=(72, 100))
    found = imported(tmp_path)
    assert found.model.view == View(stretch=(72, 100))
    show = AutoImageProcessor.from_pretrained(tmp_path)
    for height, width in ((72, 100), (50, 120), (300, 200)):
        seen = picture(height, width)
        theirs = show(Image.fromarray(seen), return_tensors="pt")["pixel_values"]
        ours, inside = model_input(seen, 32, found.model)
        assert ours.shape == theirs.shape == (1, 3, 72, 100)
        assert inside == (72, 100)
        # Pillow and torchvision round a resized value apart by one grey level at most.
        level = 1 / 255 / min(found.model.backbone.std)
        assert (ours - theirs).abs().max() <= level * 1.001
        if (height, width) == (72, 100):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_files_own_scale_of_values_is_kept(tmp_path: Path) -> None:
    random_segformer(tmp_path, ["background", "cat", "dog"])
    seen = picture(64, 96)
    for changes in (
        {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 55, 50]},
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0, 1, 1], "image_std": [1.0, 1, 1]},
        {"do_normalize": False, "do_rescale": True, "rescale_factor": 1 / 255},
    ):
        change(tmp_path / "preprocessor_config.json", **changes)
        show = AutoImageProcessor.from_pretrained(tmp_path)
        theirs = show(Image.fromarray(seen), return_tensors="pt")["pixel_values"]
        ours, _ = model_input(seen, 32, imported(tmp_path).model)
        torch.testing.assert_close(ours, theirs.float(), rtol=1e-4, atol=1e-4)


def test_masks_are_the_pipelines(tmp_path: Path) -> None:
    source = random_segformer(tmp_path, ["background", "cat", "dog"])
    show = AutoImageProcessor.from_pretrained(tmp_path)
    model = imported(tmp_path).model

    def agreement(height: int, width: int) -> float:
        seen = picture(height, width)
        inputs = show(Image.fromarray(seen), return_tensors="pt")
        with torch.no_grad():
            output = source(**inputs)
        theirs = show.post_process_semantic_segmentation(output, [(height, width)])[0]
        ours = predict(model, seen, 32)
        assert len(np.unique(ours)) > 1
        return float((ours == theirs.numpy()).mean())

    assert agreement(64, 96) == 1
    assert agreement(300, 333) > 0.999  # but for ties in the last bit


@settings(max_examples=examples(60), deadline=None)
@given(
    classes=st.integers(1, 40),
    scale=st.floats(0.01, 100),
    seed=st.integers(0, 2**31 - 1),
    adverse=st.booleans(),
)
def test_a_made_up_background_never_wins(
    classes: int, scale: float, seed: int, adverse: bool
) -> None:
    make = torch.Generator().manual_seed(seed)
    weight = scale * torch.randn(classes, 8, 1, 1, generator=make)
    bias = scale * torch.randn(classes, generator=make)
    order = ClassOrder(
        background=None,
        foreground=tuple(numbered(classes)),
        rows=tuple(range(classes)),
    )
    tensors = {names.CLASSIFIER + "weight": weight, names.CLASSIFIER + "bias": bias}
    changed = with_background(tensors, order)
    rows = changed[names.CLASSIFIER + "weight"][:, :, 0, 0].double()
    features = scale * torch.randn(50, 8, generator=make).double()
    if adverse:  # what likes the new row best of all
        features = torch.cat([features, 1e3 * rows[:1], -1e3 * rows[:1]])
    found = features @ rows.T + changed[names.CLASSIFIER + "bias"].double()
    assert (found[:, 0] < found[:, 1:].amax(dim=1)).all()
    shares = found.softmax(dim=1)
    assert (shares[:, 0] <= 1e-4).all()
